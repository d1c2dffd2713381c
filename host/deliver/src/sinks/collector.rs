//! Batches of lines posted to a collector.

use secrecy::{ExposeSecret as _, SecretString};

use crate::Format;
use crate::follow::{Consumer, Failure};
use crate::item::Item;
use crate::post::{Post, bearer};

/// A body is closed when it has reached this size, so that most keep below the 1 MiB that many servers take. A single line may be longer.
const BODY_BYTES: usize = 512 << 10;

pub(super) struct Collector {
    url: String,
    token: Option<SecretString>,
    ca: Option<Vec<u8>>,
    format: Format,
    post: Option<Post>,
}

impl Collector {
    pub(super) fn new(url: String, token: Option<SecretString>, ca: Option<Vec<u8>>, format: Format) -> Self {
        Self { url, token, ca, format, post: None }
    }
}

impl Consumer for Collector {
    fn deliver(&mut self, items: &[Item]) -> Result<usize, Failure> {
        let post = match &mut self.post {
            Some(post) => post,
            none => none.insert(Post::new(&self.url, self.ca.as_deref()).map_err(Failure::configuration)?),
        };
        let token = self.token.as_ref().map(|token| bearer(token.expose_secret())).transpose();
        let token = token.map_err(Failure::configuration)?;
        let (mut body, mut taken) = (String::new(), 0);
        for item in items {
            body.push_str(&item.line(self.format));
            body.push('\n');
            taken += 1;
            if body.len() >= BODY_BYTES {
                break;
            }
        }
        post.send("application/x-ndjson", token.as_slice(), &body)?;
        Ok(taken)
    }
}
