use wasmtime::bail;

use super::{Host, wit};
use crate::detect::{self, Detector};

impl wit::types::Host for Host {}

impl wit::clock::Host for Host {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock_ms())
    }
}

impl wit::random::Host for Host {
    fn bytes(&mut self, n: u32) -> wasmtime::Result<Vec<u8>> {
        if n > 4096 {
            bail!("random: {n} bytes were asked for; at most 4096 are given at a time");
        }
        Ok(self.random(n as usize)?)
    }
}

impl wit::state::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.state_get(&key))
    }

    fn put(&mut self, key: String, value: Vec<u8>, ttl_seconds: u32) -> wasmtime::Result<Result<(), String>> {
        Ok(self.state_put(&key, value, ttl_seconds))
    }

    fn increment(&mut self, key: String, by: i64, ttl_seconds: u32) -> wasmtime::Result<Result<i64, String>> {
        Ok(self.state_increment(&key, by, ttl_seconds))
    }
}

impl wit::detect::Host for Host {
    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Detector::ALL.iter().map(|d| d.as_str().into()).collect())
    }

    fn scan(
        &mut self,
        detectors: Vec<String>,
        ends: Vec<u32>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Vec<wit::detect::Hit>> {
        let mut wanted = Vec::with_capacity(detectors.len().min(Detector::ALL.len()));
        for name in &detectors {
            match Detector::ALL.into_iter().find(|d| d.as_str() == name) {
                Some(detector) if wanted.len() < 64 => wanted.push(detector),
                Some(_) => bail!("detect: more than 64 detectors in one request"),
                None => bail!("detect: there is no such detector; `names` tells which there are"),
            }
        }
        fit(&ends, &data)?;
        let hit = |hit: detect::Hit| wit::detect::Hit {
            value: hit.value as u32,
            start: hit.start as u32,
            len: hit.len as u32,
            detector: hit.detector as u32,
            score: hit.score,
        };
        Ok(detect::scan(&wanted, &ends, &data).into_iter().map(hit).collect())
    }
}

impl wit::crypto::Host for Host {
    fn hmac_each(&mut self, ends: Vec<u32>, data: Vec<u8>, out_len: u32) -> wasmtime::Result<Vec<u8>> {
        let taken = out_len as usize;
        if !(1..=32).contains(&taken) {
            bail!("crypto: {out_len} bytes of each hash were asked for; there are 1 to 32");
        }
        let mut out = Vec::with_capacity(ends.len().saturating_mul(taken));
        for value in values(&ends, &data)? {
            out.extend_from_slice(&self.services.shared.hash_key.mac(value)[..taken]);
        }
        Ok(out)
    }
}

/// The values `data[ends[i-1]..ends[i]]`.
fn values<'a>(ends: &'a [u32], data: &'a [u8]) -> wasmtime::Result<impl Iterator<Item = &'a [u8]>> {
    fit(ends, data)?;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    Ok(starts.zip(ends).map(|(start, end)| data.get(start as usize..*end as usize).unwrap_or_default()))
}

fn fit(ends: &[u32], data: &[u8]) -> wasmtime::Result<()> {
    if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != data.len() {
        bail!("the ends of the values do not fit their data");
    }
    Ok(())
}
