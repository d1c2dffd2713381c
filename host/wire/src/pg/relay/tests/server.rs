//! A server that follows the protocol as PostgreSQL does, for a language of a few commands:
//! `select <rows>`, `begin`, `commit`, `fail`, `copyout <rows>`, `copyin`, `deallocate <name>`; `;` separates several.

use std::collections::{HashMap, VecDeque};

use crate::pg::frame::{Fields, next, put, put_cstr};
use crate::pg::message::Fault;

/// See the module.
pub(super) struct Server {
    input: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// Every text that was run, and every text that was prepared.
    pub(super) ran: Vec<String>,
    /// What it was sent, but for COPY data that comes when no COPY is under way: that is dropped on both sides.
    pub(super) taken: Vec<u8>,
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, (String, usize)>,
    status: u8,
    skipping: bool,
    /// What is left of a simple query whose COPY waits for data, or nothing for the extended protocol.
    copying: Option<Option<VecDeque<String>>>,
}

impl Server {
    pub(super) fn new() -> Self {
        let (statements, portals) = (HashMap::new(), HashMap::new());
        let (input, out, ran, taken) = (vec![], vec![], vec![], vec![]);
        Self { input, out, ran, taken, statements, portals, status: b'I', skipping: false, copying: None }
    }

    pub(super) fn handle(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(frame) = next(&self.input, 1 << 20).unwrap() {
            let (tag, body, length) = (frame.tag, frame.body.to_vec(), frame.raw.len());
            if self.copying.is_some() || !matches!(tag, b'd' | b'c' | b'f') {
                self.taken.extend_from_slice(frame.raw);
            }
            self.input.drain(..length);
            self.message(tag, &body);
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        let mut f = Fields::new(tag, body);
        match tag {
            b'd' => {}
            b'c' | b'f' => {
                if let Some(rest) = self.copying.take() {
                    match (tag, &rest) {
                        (b'f', None) => self.fail("57014"),
                        (b'f', _) => self.error("57014"),
                        _ => self.complete("COPY 1"),
                    }
                    if let Some(rest) = rest {
                        let rest = if tag == b'f' { VecDeque::new() } else { rest };
                        self.simple(rest);
                    }
                }
            }
            b'S' | b'H' if self.copying.is_some() => {}
            _ if self.copying.is_some() => panic!("the server lost {:?} during a COPY", tag as char),
            b'S' => {
                self.skipping = false;
                self.ready();
            }
            b'Q' => {
                self.skipping = false;
                let text = f.str().unwrap().to_owned();
                self.simple(text.split(';').map(|s| s.trim().to_owned()).collect());
            }
            _ if self.skipping => {}
            b'P' => {
                let (name, text) = (f.cstr().unwrap().to_vec(), f.str().unwrap().to_owned());
                self.ran.push(text.clone());
                if !is_known(&text) {
                    return self.fail("42601");
                }
                if self.status == b'E' && text != "commit" {
                    return self.fail("25P02");
                }
                self.statements.insert(name, text);
                put(&mut self.out, b'1', |_| {});
            }
            b'B' => {
                let (portal, name) = (f.cstr().unwrap().to_vec(), f.cstr().unwrap());
                let Some(text) = self.statements.get(name).cloned() else { return self.fail("26000") };
                self.portals.insert(portal, (text, 0));
                put(&mut self.out, b'2', |_| {});
            }
            b'D' => self.describe(f),
            b'E' => self.execute(f),
            b'C' => {
                let (kind, name) = (f.u8().unwrap(), f.cstr().unwrap());
                if kind == b'S' {
                    drop(self.statements.remove(name))
                } else {
                    drop(self.portals.remove(name))
                }
                put(&mut self.out, b'3', |_| {});
            }
            b'H' => {}
            other => panic!("the server got {:?}", other as char),
        }
    }

    fn describe(&mut self, mut f: Fields<'_>) {
        let (kind, name) = (f.u8().unwrap(), f.cstr().unwrap());
        let text = if kind == b'S' {
            put(&mut self.out, b't', |b| b.extend([0, 0]));
            self.statements.get(name).cloned()
        } else {
            self.portals.get(name).map(|p| p.0.clone())
        };
        match text {
            None => {
                self.out.truncate(self.out.len() - if kind == b'S' { 7 } else { 0 });
                self.fail("26000");
            }
            Some(text) if text.starts_with("select") => self.columns(),
            Some(_) => put(&mut self.out, b'n', |_| {}),
        }
    }

    fn execute(&mut self, mut f: Fields<'_>) {
        let (name, limit) = (f.cstr().unwrap().to_vec(), f.i32().unwrap() as usize);
        let Some((text, done)) = self.portals.get(&name).cloned() else { return self.fail("34000") };
        match text.strip_prefix("select ").filter(|_| self.status != b'E') {
            Some(rows) => {
                self.ran.push(text.clone());
                let left = rows.parse::<usize>().unwrap() - done;
                let count = if limit == 0 { left } else { left.min(limit) };
                (0..count).for_each(|_| self.row());
                if limit > 0 && count == limit {
                    self.portals.insert(name, (text, done + count));
                    put(&mut self.out, b's', |_| {});
                } else {
                    self.complete(&format!("SELECT {count}"));
                }
            }
            None if !self.run(&text, false) => self.skipping = true,
            None if text == "copyin" && self.status != b'E' => self.copying = Some(None),
            None => {}
        }
    }

    fn simple(&mut self, mut texts: VecDeque<String>) {
        while let Some(text) = texts.pop_front() {
            if text.is_empty() {
                put(&mut self.out, b'I', |_| {});
            } else if !self.run(&text, true) {
                break;
            } else if text == "copyin" {
                self.copying = Some(Some(texts));
                return;
            }
        }
        self.ready();
    }

    /// Whether it succeeded.
    fn run(&mut self, text: &str, describe: bool) -> bool {
        self.ran.push(text.to_owned());
        if !is_known(text) || text == "fail" {
            self.error("42601");
            return false;
        }
        if self.status == b'E' && text != "commit" {
            self.error("25P02");
            return false;
        }
        let count = |prefix: &str| text.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
        if let Some(rows) = count("select ") {
            if describe {
                self.columns();
            }
            (0..rows).for_each(|_| self.row());
            self.complete(&format!("SELECT {rows}"));
        } else if let Some(rows) = count("copyout ") {
            put(&mut self.out, b'H', |b| b.extend([0, 0, 1, 0, 0]));
            (0..rows).for_each(|_| put(&mut self.out, b'd', |b| b.extend(b"secret\n")));
            put(&mut self.out, b'c', |_| {});
            self.complete(&format!("COPY {rows}"));
        } else if text == "copyin" {
            put(&mut self.out, b'G', |b| b.extend([0, 0, 1, 0, 0]));
        } else if text == "begin" {
            self.status = b'T';
            self.complete("BEGIN");
        } else if text == "commit" {
            let tag = if self.status == b'E' { "ROLLBACK" } else { "COMMIT" };
            self.status = b'I';
            self.portals.clear();
            self.complete(tag);
        } else if let Some(name) = text.strip_prefix("deallocate ") {
            self.statements.remove(name.as_bytes());
            self.complete("DEALLOCATE");
        }
        true
    }

    fn columns(&mut self) {
        put(&mut self.out, b'T', |b| {
            b.extend([0, 1]);
            put_cstr(b, b"c");
            b.extend([0, 0, 0, 7, 0, 1, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        });
    }

    fn row(&mut self) {
        put(&mut self.out, b'D', |b| b.extend(b"\0\x01\0\0\0\x06secret"));
    }

    fn complete(&mut self, tag: &str) {
        put(&mut self.out, b'C', |b| put_cstr(b, tag.as_bytes()));
    }

    fn error(&mut self, code: &'static str) {
        Fault::error(code, "the server's own words").put(&mut self.out);
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    fn fail(&mut self, code: &'static str) {
        self.error(code);
        self.skipping = true;
    }

    fn ready(&mut self) {
        if self.status == b'I' {
            self.portals.clear();
        }
        let status = self.status;
        put(&mut self.out, b'Z', |b| b.push(status));
    }
}

fn is_known(text: &str) -> bool {
    ["select ", "begin", "commit", "fail", "copyout ", "copyin", "deallocate "].iter().any(|p| text.starts_with(p))
}
