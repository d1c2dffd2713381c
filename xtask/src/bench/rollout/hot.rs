//! How long it takes until a new build of a policy acts, in each language.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::{Scratch, root};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;

use super::super::report::median;
use super::super::{LIMITS, by_turns, plain};
use crate::languages::{LANGUAGES, Language};

/// What the example tells clients, and what its other build tells them instead: as long, so that it can be put in its place.
const WORDS: [&str; 2] = ["would change every row", "could change every row"];

/// A gateway whose policy is replaced again and again.
struct Hot {
    language: &'static str,
    gateway: Gateway,
    component: PathBuf,
    original: Vec<u8>,
    changed: Vec<u8>,
    builds: u32,
}

/// Milliseconds until a build acts that the gateway has never seen, and until the one before acts again.
#[derive(Clone, Copy)]
struct Taken {
    new: f64,
    known: f64,
}

/// The table.
pub(super) fn measure(postgres: &Postgres, rounds: usize) -> Result<String> {
    println!("==> hot loads");
    let mut all = LANGUAGES.iter().map(|language| Hot::start(postgres, language)).collect::<Result<Vec<_>>>()?;
    let taken = by_turns(rounds, all.len(), |place| all[place].round())?;
    let mut out = format!(
        "### From a new component to its first answer\n\nThe component's file of `no-mass-delete` is replaced and `portcullis reload` is run, then `psql` \
         asks until it is answered by the new one; the programs' own starts are in the figure. A new build is compiled and its cases are run; the one that \
         was in force before it comes from the cache. Medians of {rounds}.\n\n| | a new build | back to the one before |\n|---|---|---|\n"
    );
    for (place, hot) in all.iter().enumerate() {
        let over = |value: fn(&Taken) -> f64| median(taken.iter().map(|round| value(&round[place])).collect());
        let _ = writeln!(out, "| {} | {:.0} ms | {:.0} ms |", hot.language, over(|t| t.new), over(|t| t.known));
    }
    Ok(out + "\n")
}

impl Hot {
    fn start(postgres: &Postgres, language: &Language) -> Result<Self> {
        let (scratch, source) = (Scratch::new("hot")?, root().join(language.directory("no-mass-delete")));
        let package = scratch.path().join("package");
        fs::create_dir_all(package.join("cases"))?;
        for file in ["policy.toml", "settings.schema.json", "cases/rules.toml"] {
            fs::copy(source.join(file), package.join(file))
                .with_context(|| format!("{file} in {}", source.display()))?;
        }
        let component = package.join("policy.wasm");
        let original = fs::read(source.join("policy.wasm"))?;
        fs::write(&component, &original)?;
        let policies = format!("[[policy]]\nname = \"no-mass-delete\"\npackage = \"package\"\n{LIMITS}\n");
        let options = Options { policies, chain: vec!["no-mass-delete"], ..plain(postgres) };
        let gateway = Gateway::start_in(scratch, options)?;
        let changed = reworded(&original).with_context(|| format!("the component in {}", language.name))?;
        Ok(Self { language: language.name, gateway, component, original, changed, builds: 0 })
    }

    fn round(&mut self) -> Result<Taken> {
        self.builds += 1;
        let mut new = self.changed.clone();
        // A custom section, whose number makes it a build of its own: kind, size, the size of its name, name, content.
        new.extend([0, 6, 1, b'n']);
        new.extend(self.builds.to_le_bytes());
        Ok(Taken { new: self.replace(&new, WORDS[1])?, known: self.replace(&self.original, WORDS[0])? })
    }

    /// Milliseconds until clients are told these words.
    fn replace(&self, component: &[u8], words: &str) -> Result<f64> {
        let draft = self.component.with_extension("new");
        fs::write(&draft, component)?;
        let start = Instant::now();
        fs::rename(&draft, &self.component)?;
        let reload = self.gateway.reload()?;
        let says = String::from_utf8_lossy(&reload.stderr);
        ensure!(reload.status.success(), "the gateway refuses the build in {}: {says}", self.language);
        until("the new build answers", Duration::from_secs(60), || {
            let (_, told) = self.gateway.query("alice", "delete from accounts")?;
            ensure!(told.contains(words), "psql was told: {told}");
            Ok(())
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// The component with the other words.
fn reworded(component: &[u8]) -> Result<Vec<u8>> {
    let [old, new] = WORDS.map(str::as_bytes);
    let mut changed = component.to_vec();
    for at in 0..changed.len().saturating_sub(old.len()) {
        if changed[at..].starts_with(old) {
            changed[at..at + old.len()].copy_from_slice(new);
        }
    }
    ensure!(changed != component, "does not hold the words \"{}\"", WORDS[0]);
    Ok(changed)
}
