//! The types that a database has made of others.

use std::collections::HashMap;

use portcullis_wire::pg::types::{self, Class, Make};

/// Types that the server's initialisation did not make: kind, element of an array, type and modifier under a domain, bound of a range.
pub(super) const TYPES: &str = "select t.oid, t.typname, t.typtype, case when t.typcategory = 'A' and t.typdelim = ',' then t.typelem else 0 end, \
     t.typbasetype, t.typtypmod, coalesce(r.rngsubtype, 0) from pg_catalog.pg_type t \
     left join pg_catalog.pg_range r on r.rngtypid = t.oid where t.oid >= 16384";
/// The fields of composite types, those of relations among them, in order.
pub(super) const FIELDS: &str = "select t.oid, a.atttypid, a.atttypmod from pg_catalog.pg_type t \
     join pg_catalog.pg_attribute a on a.attrelid = t.typrelid \
     where t.oid >= 16384 and t.typtype = 'c' and a.attnum > 0 and not a.attisdropped order by t.oid, a.attnum";

/// Types by their OIDs.
#[derive(Default)]
pub(super) struct Types(HashMap<u32, Own>);

struct Own {
    name: String,
    made: Made,
}

enum Made {
    Array(u32),
    Domain { base: u32, modifier: i32 },
    Enum,
    Range(u32),
    Record(Vec<(u32, i32)>),
    Other,
}

impl Types {
    /// Takes a row of [`TYPES`].
    pub(super) fn add(&mut self, row: &[Option<String>]) {
        let [Some(oid), Some(name), Some(kind), Some(element), Some(base), Some(modifier), Some(bound)] = row else {
            return;
        };
        let number = |text: &String| text.parse::<u32>().unwrap_or(0);
        let made = match (kind.as_str(), number(element)) {
            ("d", _) => Made::Domain { base: number(base), modifier: modifier.parse().unwrap_or(-1) },
            ("r", _) => Made::Range(number(bound)),
            ("c", _) => Made::Record(Vec::new()),
            ("e", _) => Made::Enum,
            (_, 0) => Made::Other,
            (_, element) => Made::Array(element),
        };
        self.0.insert(number(oid), Own { name: name.clone(), made });
    }

    /// Takes a row of [`FIELDS`], after those of [`TYPES`].
    pub(super) fn add_field(&mut self, row: &[Option<String>]) {
        let numbers: Vec<i64> = row.iter().flatten().filter_map(|v| v.parse().ok()).collect();
        let [oid, field, modifier] = numbers[..] else { return };
        let own = u32::try_from(oid).ok().and_then(|oid| self.0.get_mut(&oid));
        if let (Some(Own { made: Made::Record(fields), .. }), Ok(field)) = (own, u32::try_from(field)) {
            fields.push((field, i32::try_from(modifier).unwrap_or(-1)));
        }
    }

    pub(super) fn name(&self, oid: u32) -> String {
        let builtin = types::name(oid).map(str::to_owned);
        builtin.or_else(|| self.0.get(&oid).map(|own| own.name.clone())).unwrap_or_else(|| format!("oid {oid}"))
    }

    /// How a type is made that is not built in.
    pub(super) fn make(&self, oid: u32) -> Make<'_> {
        match self.0.get(&oid).map(|own| &own.made) {
            Some(Made::Array(element)) => Make::Array(*element),
            Some(Made::Domain { base, modifier }) => Make::Domain { base: *base, modifier: *modifier },
            Some(Made::Enum) => Make::Plain(Class::Enum),
            Some(Made::Range(bound)) => Make::Range(*bound),
            Some(Made::Record(fields)) => Make::Record(fields),
            Some(Made::Other) | None => Make::Plain(Class::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &str) -> Vec<Option<String>> {
        values.split(' ').map(|value| Some(value.to_owned())).collect()
    }

    #[test]
    fn types_are_made_of_others() {
        let mut types = Types::default();
        for values in [
            "16400 mood e 0 0 -1 0",
            "16401 _mood b 16400 0 -1 0",
            "16402 mail d 0 1043 68 0",
            "16403 span r 0 0 -1 20",
            "16404 person c 0 0 -1 0",
        ] {
            types.add(&row(values));
        }
        types.add_field(&row("16404 25 -1"));
        types.add_field(&row("16404 1043 24"));
        types.add_field(&row("16400 25 -1"));
        assert_eq!(types.make(16400), Make::Plain(Class::Enum));
        assert_eq!(types.make(16401), Make::Array(16400));
        assert_eq!(types.make(16402), Make::Domain { base: 1043, modifier: 68 });
        assert_eq!(types.make(16403), Make::Range(20));
        assert_eq!(types.make(16404), Make::Record(&[(25, -1), (1043, 24)]));
        assert_eq!(types.make(1), Make::Plain(Class::Other));
        assert_eq!([25, 16400, 1].map(|oid| types.name(oid)), ["text", "mood", "oid 1"]);
    }
}
