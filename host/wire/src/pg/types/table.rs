//! Which types there are.

use super::Class;

/// How a type is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
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
pub(super) const TYPES: &[(u32, &str, Kind<'static>)] = &[
    (16, "bool", Kind::Plain(Class::Bool)),
    (17, "bytea", Kind::Plain(Class::Bytea)),
    (18, "char", Kind::Plain(Class::Char)),
    (19, "name", Kind::Plain(Class::Name)),
    (20, "int8", Kind::Plain(Class::Int8)),
    (21, "int2", Kind::Plain(Class::Int2)),
    (22, "int2vector", Kind::Plain(Class::Other)),
    (23, "int4", Kind::Plain(Class::Int4)),
    (25, "text", Kind::Plain(Class::Text)),
    (26, "oid", Kind::Plain(Class::Oid)),
    (27, "tid", Kind::Plain(Class::Tid)),
    (28, "xid", Kind::Plain(Class::Oid)),
    (29, "cid", Kind::Plain(Class::Oid)),
    (30, "oidvector", Kind::Plain(Class::Other)),
    (114, "json", Kind::Plain(Class::Json)),
    (142, "xml", Kind::Plain(Class::Xml)),
    (143, "_xml", Kind::Array(142)),
    (199, "_json", Kind::Array(114)),
    (271, "_xid8", Kind::Array(5069)),
    (600, "point", Kind::Plain(Class::Point)),
    (601, "lseg", Kind::Plain(Class::Lseg)),
    (602, "path", Kind::Plain(Class::Path)),
    (603, "box", Kind::Plain(Class::Box)),
    (604, "polygon", Kind::Plain(Class::Polygon)),
    (628, "line", Kind::Plain(Class::Line)),
    (629, "_line", Kind::Array(628)),
    (650, "cidr", Kind::Plain(Class::Cidr)),
    (651, "_cidr", Kind::Array(650)),
    (700, "float4", Kind::Plain(Class::Float4)),
    (701, "float8", Kind::Plain(Class::Float8)),
    (705, "unknown", Kind::Plain(Class::Text)),
    (718, "circle", Kind::Plain(Class::Circle)),
    (719, "_circle", Kind::Array(718)),
    (774, "macaddr8", Kind::Plain(Class::MacAddr)),
    (775, "_macaddr8", Kind::Array(774)),
    (790, "money", Kind::Plain(Class::Other)),
    (791, "_money", Kind::Array(790)),
    (829, "macaddr", Kind::Plain(Class::MacAddr)),
    (869, "inet", Kind::Plain(Class::Inet)),
    (1000, "_bool", Kind::Array(16)),
    (1001, "_bytea", Kind::Array(17)),
    (1002, "_char", Kind::Array(18)),
    (1003, "_name", Kind::Array(19)),
    (1005, "_int2", Kind::Array(21)),
    (1006, "_int2vector", Kind::Array(22)),
    (1007, "_int4", Kind::Array(23)),
    (1009, "_text", Kind::Array(25)),
    (1010, "_tid", Kind::Array(27)),
    (1011, "_xid", Kind::Array(28)),
    (1012, "_cid", Kind::Array(29)),
    (1013, "_oidvector", Kind::Array(30)),
    (1014, "_bpchar", Kind::Array(1042)),
    (1015, "_varchar", Kind::Array(1043)),
    (1016, "_int8", Kind::Array(20)),
    (1017, "_point", Kind::Array(600)),
    (1018, "_lseg", Kind::Array(601)),
    (1019, "_path", Kind::Array(602)),
    (1020, "_box", Kind::Plain(Class::Other)),
    (1021, "_float4", Kind::Array(700)),
    (1022, "_float8", Kind::Array(701)),
    (1027, "_polygon", Kind::Array(604)),
    (1028, "_oid", Kind::Array(26)),
    (1040, "_macaddr", Kind::Array(829)),
    (1041, "_inet", Kind::Array(869)),
    (1042, "bpchar", Kind::Plain(Class::BpChar)),
    (1043, "varchar", Kind::Plain(Class::Text)),
    (1082, "date", Kind::Plain(Class::Date)),
    (1083, "time", Kind::Plain(Class::Time)),
    (1114, "timestamp", Kind::Plain(Class::Timestamp)),
    (1115, "_timestamp", Kind::Array(1114)),
    (1182, "_date", Kind::Array(1082)),
    (1183, "_time", Kind::Array(1083)),
    (1184, "timestamptz", Kind::Plain(Class::TimestampTz)),
    (1185, "_timestamptz", Kind::Array(1184)),
    (1186, "interval", Kind::Plain(Class::Interval)),
    (1187, "_interval", Kind::Array(1186)),
    (1231, "_numeric", Kind::Array(1700)),
    (1263, "_cstring", Kind::Array(2275)),
    (1266, "timetz", Kind::Plain(Class::TimeTz)),
    (1270, "_timetz", Kind::Array(1266)),
    (1560, "bit", Kind::Plain(Class::Bits)),
    (1561, "_bit", Kind::Array(1560)),
    (1562, "varbit", Kind::Plain(Class::Bits)),
    (1563, "_varbit", Kind::Array(1562)),
    (1700, "numeric", Kind::Plain(Class::Numeric)),
    (1790, "refcursor", Kind::Plain(Class::Text)),
    (2201, "_refcursor", Kind::Array(1790)),
    (2205, "regclass", Kind::Plain(Class::Other)),
    (2206, "regtype", Kind::Plain(Class::Other)),
    (2210, "_regclass", Kind::Array(2205)),
    (2211, "_regtype", Kind::Array(2206)),
    (2249, "record", Kind::Record(&[])),
    (2275, "cstring", Kind::Plain(Class::Text)),
    (2287, "_record", Kind::Array(2249)),
    (2950, "uuid", Kind::Plain(Class::Uuid)),
    (2951, "_uuid", Kind::Array(2950)),
    (3220, "pg_lsn", Kind::Plain(Class::PgLsn)),
    (3221, "_pg_lsn", Kind::Array(3220)),
    (3614, "tsvector", Kind::Plain(Class::Other)),
    (3615, "tsquery", Kind::Plain(Class::Other)),
    (3643, "_tsvector", Kind::Array(3614)),
    (3645, "_tsquery", Kind::Array(3615)),
    (3802, "jsonb", Kind::Plain(Class::Jsonb)),
    (3807, "_jsonb", Kind::Array(3802)),
    (3904, "int4range", Kind::Range(23)),
    (3905, "_int4range", Kind::Array(3904)),
    (3906, "numrange", Kind::Range(1700)),
    (3907, "_numrange", Kind::Array(3906)),
    (3908, "tsrange", Kind::Range(1114)),
    (3909, "_tsrange", Kind::Array(3908)),
    (3910, "tstzrange", Kind::Range(1184)),
    (3911, "_tstzrange", Kind::Array(3910)),
    (3912, "daterange", Kind::Range(1082)),
    (3913, "_daterange", Kind::Array(3912)),
    (3926, "int8range", Kind::Range(20)),
    (3927, "_int8range", Kind::Array(3926)),
    (4072, "jsonpath", Kind::Plain(Class::JsonPath)),
    (4073, "_jsonpath", Kind::Array(4072)),
    (4451, "int4multirange", Kind::Multirange(3904)),
    (4532, "nummultirange", Kind::Multirange(3906)),
    (4533, "tsmultirange", Kind::Multirange(3908)),
    (4534, "tstzmultirange", Kind::Multirange(3910)),
    (4535, "datemultirange", Kind::Multirange(3912)),
    (4536, "int8multirange", Kind::Multirange(3926)),
    (5069, "xid8", Kind::Plain(Class::Xid8)),
    (6150, "_int4multirange", Kind::Array(4451)),
    (6151, "_nummultirange", Kind::Array(4532)),
    (6152, "_tsmultirange", Kind::Array(4533)),
    (6153, "_tstzmultirange", Kind::Array(4534)),
    (6155, "_datemultirange", Kind::Array(4535)),
    (6157, "_int8multirange", Kind::Array(4536)),
];

/// The name of a built-in type.
pub fn name(oid: u32) -> Option<&'static str> {
    find(oid).map(|(_, name, _)| *name)
}

/// How a built-in type is made.
pub fn builtin(oid: u32) -> Option<Kind<'static>> {
    find(oid).map(|(.., kind)| *kind)
}

/// What the values of this type look like, if it is a built-in one of single values.
pub fn class(oid: u32) -> Class {
    match builtin(oid) {
        Some(Kind::Plain(class)) => class,
        _ => Class::Other,
    }
}

fn find(oid: u32) -> Option<&'static (u32, &'static str, Kind<'static>)> {
    TYPES.binary_search_by_key(&oid, |t| t.0).ok().and_then(|at| TYPES.get(at))
}
