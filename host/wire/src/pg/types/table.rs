//! Which types there are.

use super::Class;

/// How a type is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make<'a> {
    /// An array of this element.
    Array(u32),
    /// Another type under a name of its own.
    Domain {
        /// The type.
        base: u32,
        /// Its modifier, or -1.
        modifier: i32,
    },
    /// A range of ranges of this type.
    Multirange(u32),
    /// Of values that look like this.
    Plain(Class),
    /// A range of this type.
    Range(u32),
    /// A row of fields with these types and modifiers; none if they are not known.
    Record(&'a [(u32, i32)]),
}

/// OIDs and names as in the server's `pg_type.dat`. The elements of `_box` are set apart by a semicolon, unlike all others.
pub(super) const TYPES: &[(u32, &str, Make<'static>)] = &[
    (16, "bool", Make::Plain(Class::Bool)),
    (17, "bytea", Make::Plain(Class::Bytea)),
    (18, "char", Make::Plain(Class::Char)),
    (19, "name", Make::Plain(Class::Name)),
    (20, "int8", Make::Plain(Class::Int8)),
    (21, "int2", Make::Plain(Class::Int2)),
    (22, "int2vector", Make::Plain(Class::Other)),
    (23, "int4", Make::Plain(Class::Int4)),
    (25, "text", Make::Plain(Class::Text)),
    (26, "oid", Make::Plain(Class::Oid)),
    (27, "tid", Make::Plain(Class::Tid)),
    (28, "xid", Make::Plain(Class::Oid)),
    (29, "cid", Make::Plain(Class::Oid)),
    (30, "oidvector", Make::Plain(Class::Other)),
    (114, "json", Make::Plain(Class::Json)),
    (142, "xml", Make::Plain(Class::Xml)),
    (143, "_xml", Make::Array(142)),
    (199, "_json", Make::Array(114)),
    (271, "_xid8", Make::Array(5069)),
    (600, "point", Make::Plain(Class::Point)),
    (601, "lseg", Make::Plain(Class::Lseg)),
    (602, "path", Make::Plain(Class::Path)),
    (603, "box", Make::Plain(Class::Box)),
    (604, "polygon", Make::Plain(Class::Polygon)),
    (628, "line", Make::Plain(Class::Line)),
    (629, "_line", Make::Array(628)),
    (650, "cidr", Make::Plain(Class::Cidr)),
    (651, "_cidr", Make::Array(650)),
    (700, "float4", Make::Plain(Class::Float4)),
    (701, "float8", Make::Plain(Class::Float8)),
    (705, "unknown", Make::Plain(Class::Text)),
    (718, "circle", Make::Plain(Class::Circle)),
    (719, "_circle", Make::Array(718)),
    (774, "macaddr8", Make::Plain(Class::MacAddr)),
    (775, "_macaddr8", Make::Array(774)),
    (790, "money", Make::Plain(Class::Other)),
    (791, "_money", Make::Array(790)),
    (829, "macaddr", Make::Plain(Class::MacAddr)),
    (869, "inet", Make::Plain(Class::Inet)),
    (1000, "_bool", Make::Array(16)),
    (1001, "_bytea", Make::Array(17)),
    (1002, "_char", Make::Array(18)),
    (1003, "_name", Make::Array(19)),
    (1005, "_int2", Make::Array(21)),
    (1006, "_int2vector", Make::Array(22)),
    (1007, "_int4", Make::Array(23)),
    (1009, "_text", Make::Array(25)),
    (1010, "_tid", Make::Array(27)),
    (1011, "_xid", Make::Array(28)),
    (1012, "_cid", Make::Array(29)),
    (1013, "_oidvector", Make::Array(30)),
    (1014, "_bpchar", Make::Array(1042)),
    (1015, "_varchar", Make::Array(1043)),
    (1016, "_int8", Make::Array(20)),
    (1017, "_point", Make::Array(600)),
    (1018, "_lseg", Make::Array(601)),
    (1019, "_path", Make::Array(602)),
    (1020, "_box", Make::Plain(Class::Other)),
    (1021, "_float4", Make::Array(700)),
    (1022, "_float8", Make::Array(701)),
    (1027, "_polygon", Make::Array(604)),
    (1028, "_oid", Make::Array(26)),
    (1040, "_macaddr", Make::Array(829)),
    (1041, "_inet", Make::Array(869)),
    (1042, "bpchar", Make::Plain(Class::BpChar)),
    (1043, "varchar", Make::Plain(Class::Text)),
    (1082, "date", Make::Plain(Class::Date)),
    (1083, "time", Make::Plain(Class::Time)),
    (1114, "timestamp", Make::Plain(Class::Timestamp)),
    (1115, "_timestamp", Make::Array(1114)),
    (1182, "_date", Make::Array(1082)),
    (1183, "_time", Make::Array(1083)),
    (1184, "timestamptz", Make::Plain(Class::TimestampTz)),
    (1185, "_timestamptz", Make::Array(1184)),
    (1186, "interval", Make::Plain(Class::Interval)),
    (1187, "_interval", Make::Array(1186)),
    (1231, "_numeric", Make::Array(1700)),
    (1263, "_cstring", Make::Array(2275)),
    (1266, "timetz", Make::Plain(Class::TimeTz)),
    (1270, "_timetz", Make::Array(1266)),
    (1560, "bit", Make::Plain(Class::Bits)),
    (1561, "_bit", Make::Array(1560)),
    (1562, "varbit", Make::Plain(Class::Bits)),
    (1563, "_varbit", Make::Array(1562)),
    (1700, "numeric", Make::Plain(Class::Numeric)),
    (1790, "refcursor", Make::Plain(Class::Text)),
    (2201, "_refcursor", Make::Array(1790)),
    (2205, "regclass", Make::Plain(Class::Other)),
    (2206, "regtype", Make::Plain(Class::Other)),
    (2210, "_regclass", Make::Array(2205)),
    (2211, "_regtype", Make::Array(2206)),
    (2249, "record", Make::Record(&[])),
    (2275, "cstring", Make::Plain(Class::Text)),
    (2287, "_record", Make::Array(2249)),
    (2950, "uuid", Make::Plain(Class::Uuid)),
    (2951, "_uuid", Make::Array(2950)),
    (3220, "pg_lsn", Make::Plain(Class::PgLsn)),
    (3221, "_pg_lsn", Make::Array(3220)),
    (3614, "tsvector", Make::Plain(Class::Other)),
    (3615, "tsquery", Make::Plain(Class::Other)),
    (3643, "_tsvector", Make::Array(3614)),
    (3645, "_tsquery", Make::Array(3615)),
    (3802, "jsonb", Make::Plain(Class::Jsonb)),
    (3807, "_jsonb", Make::Array(3802)),
    (3904, "int4range", Make::Range(23)),
    (3905, "_int4range", Make::Array(3904)),
    (3906, "numrange", Make::Range(1700)),
    (3907, "_numrange", Make::Array(3906)),
    (3908, "tsrange", Make::Range(1114)),
    (3909, "_tsrange", Make::Array(3908)),
    (3910, "tstzrange", Make::Range(1184)),
    (3911, "_tstzrange", Make::Array(3910)),
    (3912, "daterange", Make::Range(1082)),
    (3913, "_daterange", Make::Array(3912)),
    (3926, "int8range", Make::Range(20)),
    (3927, "_int8range", Make::Array(3926)),
    (4072, "jsonpath", Make::Plain(Class::JsonPath)),
    (4073, "_jsonpath", Make::Array(4072)),
    (4451, "int4multirange", Make::Multirange(3904)),
    (4532, "nummultirange", Make::Multirange(3906)),
    (4533, "tsmultirange", Make::Multirange(3908)),
    (4534, "tstzmultirange", Make::Multirange(3910)),
    (4535, "datemultirange", Make::Multirange(3912)),
    (4536, "int8multirange", Make::Multirange(3926)),
    (5069, "xid8", Make::Plain(Class::Xid8)),
    (6150, "_int4multirange", Make::Array(4451)),
    (6151, "_nummultirange", Make::Array(4532)),
    (6152, "_tsmultirange", Make::Array(4533)),
    (6153, "_tstzmultirange", Make::Array(4534)),
    (6155, "_datemultirange", Make::Array(4535)),
    (6157, "_int8multirange", Make::Array(4536)),
];

/// The name of a built-in type.
pub fn name(oid: u32) -> Option<&'static str> {
    find(oid).map(|(_, name, _)| *name)
}

/// How a built-in type is made.
pub fn builtin(oid: u32) -> Option<Make<'static>> {
    find(oid).map(|(.., make)| *make)
}

/// What the values of this type look like, if it is a built-in one of single values.
pub fn class(oid: u32) -> Class {
    match builtin(oid) {
        Some(Make::Plain(class)) => class,
        _ => Class::Other,
    }
}

fn find(oid: u32) -> Option<&'static (u32, &'static str, Make<'static>)> {
    TYPES.binary_search_by_key(&oid, |t| t.0).ok().and_then(|at| TYPES.get(at))
}
