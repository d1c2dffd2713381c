use super::*;

fn covers(namespace: &str, repository: &str) -> bool {
    Rule { namespace: namespace.into(), all_of: vec![], any_of: vec![], at_least: 0 }.covers(repository)
}

#[test]
fn a_namespace_covers_what_is_in_it() {
    for (namespace, repository, expected) in [
        ("registry.example/team/block", "registry.example/team/block", true),
        ("registry.example/team/block", "registry.example/team/block2", false),
        ("registry.example/team/block", "registry.example/team", false),
        ("registry.example/team/*", "registry.example/team/block", true),
        ("registry.example/team/*", "registry.example/team/further/in/block", true),
        ("registry.example/team/*", "registry.example/teams/block", false),
        ("registry.example/team/*", "evil.example/registry.example/team/block", false),
        ("*/team/*k", "registry.example/team/block", true),
        ("*/team/*k", "registry.example/team/block/team/mask", true),
        ("*/team/*k", "registry.example/team/limit", false),
        ("*", "registry.example/team/block", true),
        ("*", "", true),
        ("registry.example/**/block", "registry.example/a/b/block", true),
        // Whoever writes a source cannot step out of a rule by another spelling of the same place.
        ("registry.example/team/*", "Registry.Example/team/block", true),
        ("Registry.Example/team/*", "registry.example/Team/block", true),
        ("registry.example/team/*", "registry.example:443/team/block", true),
        ("registry.example/team/*", "registry.example./team/block", true),
        ("registry.example:443/team/*", "registry.example/team/block", true),
        ("registry.example:5000/team/*", "registry.example/team/block", false),
        ("registry.example/team/*", "registry.example:5000/team/block", false),
    ] {
        assert_eq!(covers(namespace, repository), expected, "{namespace} {repository}");
    }
}

#[test]
fn a_pattern_costs_no_more_than_its_length_times_the_texts() {
    let stars = "*a".repeat(500) + "/b";
    assert!(!covers(&stars, &"a".repeat(2000)));
}

#[test]
fn a_namespace_that_would_mislead_is_refused() {
    for good in ["*", "r.example/a", "r.example:5000/a_b-c/*", "[::1]:5000/a", "*/a", "localhost/a*"] {
        assert_eq!(fault(good), None, "{good}");
    }
    for (odd, expected) in [
        ("", "is no repository"),
        ("registry.example", "is no repository"),
        ("registry.example*", "is no repository"),
        ("registry.example/", "is no repository"),
        ("registry.example/team/", "is no repository"),
        ("/team", "is no repository"),
        ("oci://registry.example/team", "has a scheme"),
        ("registry.example/team/block:1.0.0", "leave the tag away"),
        ("registry.example/team/block@sha256:ab", "holds other characters"),
        ("registry.example/team/blo?k", "holds other characters"),
        ("registry.example/{a,b}/*", "holds other characters"),
        ("registry.example/[ab]/*", "has more than a repository"),
        ("registry.example/team\n/*", "holds other characters"),
    ] {
        assert!(fault(odd).is_some_and(|reason| reason.contains(expected)), "{odd}: {:?}", fault(odd));
    }
}
