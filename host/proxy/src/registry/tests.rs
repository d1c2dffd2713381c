use std::collections::BTreeMap;

use portcullis_verdict::{Credential, Principal, Target};

use super::*;
use crate::config::UpstreamTls;

fn target(max_sessions: usize) -> PgTarget {
    PgTarget {
        target: Arc::new(Target { name: "shop".into(), labels: BTreeMap::new() }),
        host: "127.0.0.1".into(),
        port: 5432,
        database: "shop".into(),
        user: "gateway".into(),
        password: None,
        tls: UpstreamTls::Disable,
        column_labels: [].into(),
        max_sessions,
        record: RecordLevel::None,
    }
}

fn own(max_sessions: usize) -> Quota {
    Quota { max_sessions, group: None }
}

fn join(registry: &Arc<Registry>, user: &str, target: &PgTarget, quota: Option<&Quota>) -> Result<Place, String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
    let session = Arc::new(Session {
        id: id.as_str().into(),
        protocol: "postgres",
        principal: Principal { name: user.into(), groups: vec![], credential: Credential::Scram },
        target: target.target.clone(),
        client_address: ([192, 0, 2, 1], 40000).into(),
        reason: None,
    });
    registry.join(&session, id.into_bytes(), target, quota).map_err(|fault| {
        assert_eq!((fault.severity, fault.code), ("FATAL", "53300"));
        fault.message
    })
}

#[test]
fn each_limit_refuses_by_its_name_and_counts_its_own_sessions() {
    let registry = Arc::<Registry>::default();
    let (shop, group) = (target(4), Quota { max_sessions: 2, group: Some("dev".into()) });
    let refused = |user: &str, quota: Option<&Quota>| join(&registry, user, &shop, quota).err();
    let (alice, _bob) = (join(&registry, "alice", &shop, Some(&own(1))), join(&registry, "bob", &shop, Some(&group)));
    let told = "too many connections for user \"alice\": max_sessions of user \"alice\" is 1";
    assert_eq!(refused("alice", Some(&own(1))).as_deref(), Some(told));
    let _second = join(&registry, "bob", &shop, Some(&group)).map_err(|why| panic!("{why}"));
    let told = "too many connections for user \"bob\": max_sessions of group \"dev\" is 2 for each member";
    assert_eq!(refused("bob", Some(&group)).as_deref(), Some(told));
    let _fourth = join(&registry, "dora", &shop, None).map_err(|why| panic!("{why}"));
    let told = "too many connections for target \"shop\": its max_sessions is reached";
    assert_eq!(refused("dora", None).as_deref(), Some(told));
    drop(alice);
    assert_eq!(refused("dora", None), None);
}

#[test]
fn whoever_leaves_makes_room_and_is_forgotten() {
    let registry = Arc::<Registry>::default();
    for _ in 0..3 {
        let places: Vec<_> = (0..2).filter_map(|_| join(&registry, "alice", &target(2), Some(&own(2))).ok()).collect();
        assert_eq!(places.len(), 2);
        // Who was refused holds nothing.
        assert!(join(&registry, "alice", &target(2), Some(&own(2))).is_err());
        assert!(join(&registry, "bob", &target(2), Some(&own(2))).is_err());
    }
    let inner = registry.lock();
    assert!(inner.per_principal.is_empty() && inner.per_target.is_empty() && inner.keys.is_empty());
}

#[test]
fn a_lower_limit_holds_for_those_who_come_and_ends_nobody() {
    let registry = Arc::<Registry>::default();
    let mut places: Vec<_> = (0..3).filter_map(|_| join(&registry, "alice", &target(9), Some(&own(3))).ok()).collect();
    assert_eq!((places.len(), registry.len()), (3, 3));
    for expected in [2, 1] {
        assert!(join(&registry, "alice", &target(9), Some(&own(1))).is_err());
        places.pop();
        assert_eq!(registry.len(), expected);
    }
    places.pop();
    assert!(join(&registry, "alice", &target(9), Some(&own(1))).is_ok());
}

#[test]
fn no_race_lets_one_more_in() {
    const ROUNDS: usize = 200;
    for _ in 0..ROUNDS {
        let (registry, start) = (Arc::<Registry>::default(), std::sync::Barrier::new(8));
        let attempt = || {
            start.wait();
            join(&registry, "alice", &target(5), Some(&own(3))).ok()
        };
        let places: Vec<_> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
            tasks.into_iter().filter_map(|task| task.join().unwrap()).collect()
        });
        assert_eq!(places.len(), 3);
    }
}
