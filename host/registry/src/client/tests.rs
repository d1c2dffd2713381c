//! Against Debian's `docker-registry`, and against servers that break every rule.

use std::os::unix::fs::PermissionsExt;

use portcullis_tests::nothing_may_be_missing;
use portcullis_tests::place::Scratch;
use portcullis_tests::registry::{self, PASSWORD, USERNAME};

use super::*;
use crate::artifact::tests::{artifact, package};

mod faults;

fn options() -> RegistryOptions {
    RegistryOptions { docker: None, ..RegistryOptions::default() }
}

fn client() -> Registry {
    Registry::new(options()).unwrap()
}

/// A registry, unless the machine has none and may lack it.
fn start(with_password: bool) -> Option<registry::Registry> {
    if registry::program().is_err() && !nothing_may_be_missing() {
        return None;
    }
    Some(registry::Registry::start(with_password).unwrap())
}

fn reference(registry: &str, rest: &str) -> Reference {
    format!("oci://{registry}/{rest}").parse().unwrap()
}

fn signature(media_type: &str, word: &str) -> Signature {
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), word.to_owned())]);
    Signature { media_type: media_type.into(), bytes: word.as_bytes().to_vec(), annotations }
}

#[tokio::test]
async fn a_package_is_pushed_signed_and_pulled() {
    let Some(server) = start(false) else { return };
    let (client, block) = (client(), artifact("x"));
    let tagged = reference(&server.address(), "team/block:1.2.0");
    client.push(&tagged, &block).await.unwrap();
    client.push(&tagged, &block).await.unwrap();
    let signatures = [
        signature(Signature::MINISIGN, "one"),
        signature(Signature::MINISIGN, "two"),
        signature(Signature::COSIGN, "three"),
        signature(Signature::COSIGN, "four"),
    ];
    for signature in &signatures {
        client.push_signature(&tagged, block.digest(), signature).await.unwrap();
        client.push_signature(&tagged, block.digest(), signature).await.unwrap();
    }
    client.annotate(&tagged, BTreeMap::from([("dev.portcullis.deprecated".into(), "use 2.0.0".into())])).await.unwrap();
    assert_eq!(client.resolve(&tagged).await.unwrap(), *block.digest());
    let pulled = client.pull(&tagged, None).await.unwrap();
    assert_eq!((pulled.artifact.digest(), pulled.artifact.component()), (block.digest(), block.component()));
    assert_eq!(pulled.signatures, signatures);
    let by_digest = reference(&server.address(), &format!("team/block@{}", block.digest()));
    assert_eq!(client.pull(&by_digest, None).await.unwrap().signatures.len(), 4);
    assert_eq!(client.tags(&tagged).await.unwrap(), ["1.2.0"]);
    // Everything that refers to the package is in the list: metadata, bill, two signatures, notes.
    assert_eq!(client.referrers(&tagged, block.digest()).await.unwrap().len(), 5);
}

#[tokio::test]
async fn what_is_pinned_is_pulled_or_nothing() {
    let Some(server) = start(false) else { return };
    let (client, x, y) = (client(), artifact("x"), artifact("y"));
    let tagged = reference(&server.address(), "block:latest");
    client.push(&tagged, &x).await.unwrap();
    client.push(&tagged, &y).await.unwrap();
    assert_eq!(client.resolve(&tagged).await.unwrap(), *y.digest());
    assert_eq!(client.pull(&tagged, Some(x.digest())).await.unwrap().artifact.digest(), x.digest());
    let error = client.pull(&tagged, Some(&Digest::of(b""))).await.unwrap_err();
    assert!(matches!(error.problem, Problem::Absent(_)), "{error}");
    assert!(
        error.to_string().starts_with(&format!("{tagged}: the registry has no such package `sha256:e3b0")),
        "{error}"
    );
    let both = reference(&server.address(), &format!("block@{}", x.digest()));
    let error = client.pull(&both, Some(y.digest())).await.unwrap_err().to_string();
    assert!(error.contains("is pinned"), "{error}");
}

#[tokio::test]
async fn a_package_passes_for_no_other() {
    let Some(server) = start(false) else { return };
    let (client, block) = (client(), artifact("x"));
    let push = async |rest: &str| client.push(&reference(&server.address(), rest), &block).await;
    for (rest, expected) in [
        ("mask:1.2.0", "the package is called `block`, and the repository `mask`"),
        ("block:1.2.1", "the package has the version `1.2.0`, and the tag says `1.2.1`"),
        ("block:v2.0.0", "the tag says `2.0.0`"),
        ("block", "has no tag to push to"),
    ] {
        let error = push(rest).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for rest in ["block:v1.2.0", "block:1", "deep/er/block:latest"] {
        push(rest).await.unwrap();
    }
    // Somebody else's client puts it under another name.
    let good = reference(&server.address(), "block:1.2.0");
    client.push(&good, &block).await.unwrap();
    let data = server.data().join("docker/registry/v2/repositories");
    let copied = std::process::Command::new("cp").arg("-r").arg(data.join("block")).arg(data.join("mask")).status();
    assert!(copied.unwrap().success());
    let error = client.pull(&reference(&server.address(), "mask:latest"), Some(block.digest())).await.unwrap_err();
    assert!(error.to_string().contains("the repository `mask`"), "{error}");
}

#[tokio::test]
async fn a_password_is_given_from_everywhere_and_shown_nowhere() {
    let Some(server) = start(true) else { return };
    let scratch = Scratch::new("docker").unwrap();
    let tagged = reference(&server.address(), "block:1.2.0");
    let block = artifact("x");
    let error = client().push(&tagged, &block).await.unwrap_err();
    assert!(matches!(error.problem, Problem::Refused(_)) && error.to_string().contains("docker login"), "{error}");
    let basic = |password: &str| Credentials::Basic { username: USERNAME.into(), password: password.into() };
    let given = |credentials| {
        let credentials = BTreeMap::from([(server.address(), credentials)]);
        Registry::new(RegistryOptions { credentials, ..options() }).unwrap()
    };
    let wrong = given(basic("wr0ng"));
    let error = wrong.push(&tagged, &block).await.unwrap_err();
    let told = format!("{error} {error:?} {wrong:?}");
    assert!(told.contains("UNAUTHORIZED") && !told.contains("wr0ng"), "{told}");
    given(basic(PASSWORD)).push(&tagged, &block).await.unwrap();
    // docker's own configuration.
    let configured = |config: &str| {
        std::fs::write(scratch.path().join("config.json"), config).unwrap();
        Registry::new(RegistryOptions { docker: Some(scratch.path().into()), ..options() }).unwrap()
    };
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{USERNAME}:{PASSWORD}"));
    let address = server.address();
    for config in [
        format!(r#"{{"auths": {{"{address}": {{"auth": "{auth}"}}}}}}"#),
        format!(r#"{{"auths": {{"http://{address}/v2/": {{"username": "{USERNAME}", "password": "{PASSWORD}"}}}}}}"#),
    ] {
        configured(&config).pull(&tagged, None).await.unwrap();
    }
    let none = configured("{}").pull(&tagged, None).await.unwrap_err();
    assert!(matches!(none.problem, Problem::Refused(_)), "{none}");
    for (config, expected) in [
        ("s3cret".to_owned(), "is not a configuration of docker"),
        (format!(r#"{{"auths": {{"{address}": {{"auth": "s3cret"}}}}}}"#), "is not user:password"),
        (format!(r#"{{"auths": {{"{address}": {{"identitytoken": "s3cret"}}}}}}"#), "identity token"),
        (r#"{"credsStore": "../s3cret"}"#.to_owned(), "is no name of a helper"),
        (r#"{"credsStore": "not-there"}"#.to_owned(), "docker-credential-not-there get"),
    ] {
        let error = configured(&config).pull(&tagged, None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(config.contains("..") || !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn an_unpacked_package_is_the_one_that_was_pushed() {
    let Some(server) = start(false) else { return };
    let scratch = Scratch::new("pulled").unwrap();
    let block = Artifact::pack(&package(&scratch, "p", "x")).unwrap();
    let tagged = reference(&server.address(), "block:1.2.0");
    client().push(&tagged, &block).await.unwrap();
    let pulled = client().pull(&tagged, None).await.unwrap();
    let unpacked = pulled.artifact.unpack(&scratch.path().join("out")).unwrap();
    assert_eq!(unpacked.manifest.package.name, "block");
    let mode = std::fs::metadata(unpacked.component_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
}
