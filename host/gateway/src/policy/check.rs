//! `portcullis policy check`

use std::sync::Arc;

use anyhow::{bail, ensure};
use portcullis_engine::Engine;
use portcullis_package::compat::Needs;
use portcullis_package::{Hook, Package};
use portcullis_verdict::{Decide, Judge, Kind};

use super::trial::somebody;
use super::{describe, prepare, spec};

/// Loads a package as the gateway would, and holds its manifest against its component.
pub(super) fn check(engine: &Arc<Engine>, package: &Package) -> anyhow::Result<()> {
    let about = &package.manifest.package;
    let component = package.component()?;
    let needs = Needs::of(&component)?;
    // Before it is loaded: then the linker would only say what it misses.
    ensure!(needs.is_served(), "{}: {needs}", about.name);
    package.fits(&component)?;
    let session = Arc::new(somebody("app"));
    engine.swap(prepare(engine, spec(package, None)?, std::slice::from_ref(&session.target.name))?);
    let kinds = registered(engine.judge(&session).as_mut(), package)?;
    let [capabilities, answers] = describe(&engine.inspect(&component)?);
    let cases = package.cases()?.len();
    println!("{} {} is good: answers {answers}; needs {capabilities}; {cases} cases", about.name, about.version);
    if about.hooks.contains(&Hook::Commands) {
        println!("  with its own settings it checks commands of the kinds: {kinds}");
    }
    println!("  {needs}");
    Ok(())
}

/// The kinds of command for which the policy in force registers. The manifest must list them: it says what the package may be asked.
fn registered(judge: &mut dyn Judge, package: &Package) -> anyhow::Result<&'static str> {
    let about = &package.manifest.package;
    // The only kind that this gateway knows; it refuses to load a policy that registers for another.
    let kind = Kind::Sql;
    if !judge.wants(kind).commands {
        return Ok("none");
    }
    if !about.kinds().iter().any(|declared| declared == kind.as_str()) {
        let kind = kind.as_str();
        bail!(
            "{}: the component registers for commands of the kind `{kind}`; list it in policy.toml: commands = [\"{kind}\"]",
            about.name
        );
    }
    Ok(kind.as_str())
}
