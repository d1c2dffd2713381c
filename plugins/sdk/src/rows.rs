use crate::{Action, BatchResult, Chunk, Edit, Mask, Patch, Plan, Rule, Spans};

impl Mask {
    /// A mask without parameters: `date-to-year`, `email`, `hash`, `null` or `redact`.
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), parameters: vec![] }
    }

    /// The same value for every row.
    pub fn constant(value: &str) -> Self {
        Self { name: "constant".to_owned(), parameters: vec![("value".to_owned(), value.to_owned())] }
    }

    /// `[redacted]` at these places of JSON, such as `$.contact.email`; of everything where there are none, and of other values.
    pub fn redact_at(paths: &[String]) -> Self {
        let parameters = paths.iter().map(|path| ("path".to_owned(), path.clone())).collect();
        Self { name: "redact".to_owned(), parameters }
    }

    /// All characters but the last `count` become `*`.
    pub fn keep_last(count: u32) -> Self {
        Self { name: "keep-last".to_owned(), parameters: vec![("count".to_owned(), count.to_string())] }
    }
}

impl Plan {
    /// Leaves every column alone.
    pub fn keep() -> Self {
        Self { rules: vec![], max_rows: None }
    }

    /// Adds what happens to a column.
    pub fn push(&mut self, column: u32, action: Action) {
        self.rules.push(Rule { column, action });
    }
}

impl Chunk {
    /// The value in this row; `None` is NULL.
    pub fn value(&self, row: usize) -> Option<&[u8]> {
        if self.nulls.get(row / 8).is_some_and(|bits| bits >> (row % 8) & 1 == 1) {
            return None;
        }
        let start = if row == 0 { 0 } else { *self.ends.get(row - 1)? };
        self.data.get(start as usize..*self.ends.get(row)? as usize)
    }
}

impl Spans {
    /// No span yet; what is added will be overwritten with `fill`, a printable ASCII character.
    pub fn new(fill: u8) -> Self {
        Self { rows: vec![], starts: vec![], lens: vec![], fill }
    }

    /// Adds the bytes `start..start + len` of the value in a row.
    pub fn push(&mut self, row: u32, start: u32, len: u32) {
        self.rows.push(row);
        self.starts.push(start);
        self.lens.push(len);
    }
}

impl Patch {
    /// No new value yet.
    pub fn new() -> Self {
        Self { rows: vec![], nulls: vec![], ends: vec![], data: vec![] }
    }

    /// Gives a row a new value; rows come in order, and `None` is NULL.
    pub fn push(&mut self, row: u32, value: Option<&[u8]>) {
        let index = self.rows.len();
        if index.is_multiple_of(8) {
            self.nulls.push(0);
        }
        match (value, self.nulls.last_mut()) {
            (Some(bytes), _) => self.data.extend_from_slice(bytes),
            (None, Some(bits)) => *bits |= 1 << (index % 8),
            (None, None) => {}
        }
        self.rows.push(row);
        self.ends.push(self.data.len() as u32);
    }
}

impl Default for Patch {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchResult {
    /// One edit for each chunk, in order, and no row dropped.
    pub fn edits(edits: Vec<Edit>) -> Self {
        Self { edits, drop_rows: vec![], abort: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_laid_out_as_the_interface_says() {
        let mut patch = Patch::new();
        for row in 0..10 {
            patch.push(row, (row != 1 && row != 9).then_some(b"ab"));
        }
        assert_eq!(patch.nulls, [0b10, 0b10]);
        assert_eq!((patch.ends[0], patch.ends[1], patch.ends[9], patch.data.len()), (2, 2, 16, 16));
    }
}
