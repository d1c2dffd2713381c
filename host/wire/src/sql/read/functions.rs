//! What is known of functions by their name. A schema is not looked at: extensions can be installed into any, and a function
//! of the same name elsewhere is rather suspected than missed.

use crate::sql::Effects;

/// What calling a function may do beyond computing a value from its arguments. Functions that users define are unknown: what
/// they do inside is out of sight here.
pub(super) fn effects(schema: &str, name: &str) -> Effects {
    match name {
        "set_config" => Effects::SESSION_STATE,
        // As a read-only transaction does, the sequence functions and the changes to large objects count as writing.
        "nextval" | "setval" | "lo_creat" | "lo_create" | "lo_unlink" | "lo_put" | "lowrite" | "lo_truncate"
        | "lo_truncate64" | "lo_from_bytea" => Effects::WRITE,
        "lo_get" | "loread" => Effects::READ,
        "lo_import"
        | "lo_export"
        | "pg_stat_file"
        | "pg_current_logfile"
        | "pg_logdir_ls"
        | "pg_hba_file_rules"
        | "pg_ident_file_mappings"
        | "pg_show_all_file_settings"
        | "pg_import_system_collations" => Effects::SERVER_FILE,
        _ if ["pg_read_", "pg_ls_", "pg_file_"].iter().any(|start| name.starts_with(start)) => Effects::SERVER_FILE,
        "ts_stat"
        | "ts_rewrite"
        | "xpath_table"
        | "connectby"
        | "currtid"
        | "currtid2"
        | "get_raw_page"
        | "pg_background_launch"
        | "plpgsql_call_handler"
        | "binary_upgrade_create_empty_extension" => Effects::OPAQUE,
        _ if ["dblink", "crosstab", "pg_logical_slot_"].iter().any(|start| name.starts_with(start)) => Effects::OPAQUE,
        // query_to_xml, table_to_xmlschema, database_to_xml_and_xmlschema, cursor_to_xml, …
        _ if name.contains("_to_xml") => Effects::OPAQUE,
        _ if schema == "cron" => Effects::OPAQUE,
        _ => Effects::empty(),
    }
}

/// Whether `alias.name` may be this function applied to the whole row, which it then returns or reveals in part.
pub(super) fn takes_rows(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "any_value",
        "array_agg",
        "concat",
        "hash_record",
        "hstore",
        "json_agg",
        "json_agg_strict",
        "json_build_array",
        "jsonb_agg",
        "jsonb_agg_strict",
        "jsonb_build_array",
        "max",
        "min",
        "quote_literal",
        "quote_nullable",
        "record_out",
        "record_send",
        "row_to_json",
        "to_json",
        "to_jsonb",
    ];
    NAMES.binary_search(&name).is_ok()
}

/// Whether a function of the server's own gives any number of rows: how many may depend on what it is given.
pub(super) fn returns_sets(name: &str) -> bool {
    const NAMES: [&str; 27] = [
        "aclexplode",
        "generate_series",
        "generate_subscripts",
        "json_array_elements",
        "json_array_elements_text",
        "json_each",
        "json_each_text",
        "json_object_keys",
        "json_populate_recordset",
        "json_to_recordset",
        "jsonb_array_elements",
        "jsonb_array_elements_text",
        "jsonb_each",
        "jsonb_each_text",
        "jsonb_object_keys",
        "jsonb_path_query",
        "jsonb_path_query_tz",
        "jsonb_populate_recordset",
        "jsonb_to_recordset",
        "regexp_matches",
        "regexp_split_to_table",
        "string_to_table",
        "ts_debug",
        "ts_parse",
        "ts_stat",
        "unnest",
        "xpath_table",
    ];
    NAMES.binary_search(&name).is_ok()
}
