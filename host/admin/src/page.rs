//! Lists, a page at a time.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::App;
use crate::problem::Problem;

pub(crate) type Answer<T = Response> = Result<T, Problem>;

/// The entries of a page that names no limit, and the most of any page.
const ENTRIES: usize = 100;
const MOST_ENTRIES: usize = 1000;

/// A page with so many bytes ends, whatever its limit.
const BYTES: usize = 4 << 20;

/// Items that are read at a time, unless whoever reads them bounds their bytes, so that a page of huge ones costs no more than it shows.
const CHUNK: usize = 50;

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The most items of the page. It may have fewer although there are more: only `next` tells.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    pub(crate) cursor: Option<String>,
}

impl Paging {
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(ENTRIES).clamp(1, MOST_ENTRIES)
    }

    /// Every list goes on from a number, which callers need not know.
    pub(crate) fn cursor(&self) -> Answer<Option<u64>> {
        let bad = |_| Problem::new(StatusCode::BAD_REQUEST, "this cursor is none: take `next` of the page before");
        self.cursor.as_deref().map(str::parse).transpose().map_err(bad)
    }
}

/// A page of JSON.
pub(crate) struct Page(String);

impl Page {
    /// Reads items, the number of each, and where to go on after them, from a number on; until the page is full.
    pub(crate) fn gather<T: Serialize>(
        paging: &Paging,
        number: impl Fn(&T) -> u64,
        read: impl FnMut(Option<u64>, usize) -> Answer<(Vec<T>, Option<u64>)>,
    ) -> Answer<Self> {
        Self::in_chunks(CHUNK, paging, number, read)
    }

    fn in_chunks<T: Serialize>(
        chunk: usize,
        paging: &Paging,
        number: impl Fn(&T) -> u64,
        mut read: impl FnMut(Option<u64>, usize) -> Answer<(Vec<T>, Option<u64>)>,
    ) -> Answer<Self> {
        let (limit, mut next) = (paging.limit(), paging.cursor()?);
        let (mut json, mut count) = (r#"{"items":["#.to_owned(), 0);
        'page: while count < limit {
            let asked = chunk.min(limit - count);
            let (items, after) = read(next, asked)?;
            let fewer = items.len() < asked;
            for item in items {
                next = Some(number(&item));
                push(&mut json, &item, count > 0)?;
                count += 1;
                if json.len() >= BYTES {
                    break 'page;
                }
            }
            next = after;
            if next.is_none() || fewer {
                break;
            }
        }
        let next = next.map(|number| format!("\"{number}\""));
        json += &format!(r#"],"next":{}}}"#, next.as_deref().unwrap_or("null"));
        Ok(Self(json))
    }

    /// The same where the number of the last item is where to go on.
    pub(crate) fn gather_by_number<T: Serialize>(
        paging: &Paging,
        number: impl Fn(&T) -> u64,
        read: impl FnMut(Option<u64>, usize) -> Answer<Vec<T>>,
    ) -> Answer<Self> {
        Self::in_chunks(CHUNK, paging, &number, numbered(&number, read))
    }

    /// The same where the items are read all at once: whoever reads them stops by itself after more bytes than a page has.
    pub(crate) fn gather_at_once<T: Serialize>(
        paging: &Paging,
        number: impl Fn(&T) -> u64,
        read: impl FnMut(Option<u64>, usize) -> Answer<Vec<T>>,
    ) -> Answer<Self> {
        Self::in_chunks(MOST_ENTRIES, paging, &number, numbered(&number, read))
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// Goes on at the number of the last item, until there are fewer than were asked for.
fn numbered<T>(
    number: impl Fn(&T) -> u64,
    mut read: impl FnMut(Option<u64>, usize) -> Answer<Vec<T>>,
) -> impl FnMut(Option<u64>, usize) -> Answer<(Vec<T>, Option<u64>)> {
    move |from, asked| {
        let items = read(from, asked)?;
        let next = items.last().filter(|_| items.len() >= asked).map(&number);
        Ok((items, next))
    }
}

fn push(json: &mut String, item: &impl Serialize, comma: bool) -> Answer<()> {
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an item of the list cannot be written as JSON");
    if comma {
        json.push(',');
    }
    json.push_str(&serde_json::to_string(item).map_err(failed)?);
    Ok(())
}

/// Runs what may wait for a disk or a lock where it holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the gateway; its log tells why"))
    })
}
