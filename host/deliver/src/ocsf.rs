//! Events in the Open Cybersecurity Schema Framework, version 1.3.

use std::net::{IpAddr, SocketAddr};

use portcullis_verdict::{
    ApprovalEvent, CommandEvent, Effects, Event, FinishEvent, InputsEvent, OpenEvent, RecordingEvent, StoredEvent,
    Subject, SystemEvent,
};
use serde_json::{Value, json};

use crate::item::is_warning;

/// Which class an event is of, what was done, and how that went; with the attributes of the class.
struct Mapped {
    category: u32,
    class: (u32, &'static str),
    activity: (u32, &'static str),
    status: Status,
    detail: Option<String>,
    attributes: Value,
}

#[derive(Clone, Copy)]
enum Status {
    Success,
    Failure,
    Other(&'static str),
}

const AUTHENTICATION: (u32, &str) = (3002, "Authentication");
const ENTITY_MANAGEMENT: (u32, &str) = (3004, "Entity Management");
const APPLICATION_LIFECYCLE: (u32, &str) = (6002, "Application Lifecycle");
const DATASTORE_ACTIVITY: (u32, &str) = (6005, "Datastore Activity");
const BASE_EVENT: (u32, &str) = (0, "Base Event");

const IDENTITY: u32 = 3;
const APPLICATION: u32 = 6;
const UNCATEGORIZED: u32 = 0;

/// `activity_id` of what has no better one.
const OTHER: (u32, &str) = (99, "Other");

/// An event in OCSF 1.3. What the schema has no place for is under `unmapped`, where the whole event is.
pub fn ocsf(event: &StoredEvent) -> Value {
    let mapped = map(&event.event);
    let mut out = json!({
        "time": event.at_ms,
        "metadata": { "version": "1.3.0", "product": product(), "uid": event.number.to_string() },
        "class_uid": mapped.class.0,
        "class_name": mapped.class.1,
        "category_uid": mapped.category,
        "activity_id": mapped.activity.0,
        "activity_name": mapped.activity.1,
        "type_uid": mapped.class.0 * 100 + mapped.activity.0,
        "severity_id": if is_warning(&event.event) { 3 } else { 1 },
        "severity": if is_warning(&event.event) { "Medium" } else { "Informational" },
        "unmapped": { "event": &event.event },
    });
    let (status_id, status) = match mapped.status {
        Status::Success => (1, "Success"),
        Status::Failure => (2, "Failure"),
        Status::Other(status) => (99, status),
    };
    out["status_id"] = json!(status_id);
    out["status"] = json!(status);
    if let Some(detail) = mapped.detail.filter(|detail| !detail.is_empty()) {
        out["status_detail"] = json!(detail);
    }
    if let Some(subject) = event.event.subject() {
        out["actor"] = actor(&subject.principal, subject);
        // The session is what all events of a connection have in common.
        out["src_endpoint"] = json!({ "uid": &*subject.session });
    }
    let about = match &event.event {
        Event::Command(event) => Some((&event.subject, event.sequence)),
        Event::Finish(event) => Some((&event.subject, event.sequence)),
        Event::Approval(event) => Some((&event.subject, event.sequence)),
        Event::Inputs(event) => Some((&event.subject, event.sequence)),
        _ => None,
    };
    if let Some((subject, sequence)) = about {
        out["metadata"]["correlation_uid"] = json!(correlation(subject, sequence));
    }
    if let (Some(out), Value::Object(attributes)) = (out.as_object_mut(), mapped.attributes) {
        out.extend(attributes);
    }
    out
}

fn map(event: &Event) -> Mapped {
    match event {
        Event::Open(event) => open(event),
        Event::Close { subject, reason } => close(subject, reason),
        Event::Command(event) => command(event),
        Event::Finish(event) => finish(event),
        Event::Approval(event) => approval(event),
        Event::Recording(event) => recording(event),
        Event::System(event) => system(event),
        Event::Inputs(event) => inputs(event),
    }
}

fn open(event: &OpenEvent) -> Mapped {
    let mut attributes = json!({
        "user": { "name": &*event.subject.principal, "groups": groups(&event.groups) },
        "auth_protocol": event.credential,
        "auth_protocol_id": 99,
        "is_remote": true,
        "service": { "name": &*event.subject.target },
        "session": { "uid": &*event.subject.session },
        "src_endpoint": endpoint(&event.client_address, &event.subject.session),
    });
    if let Some(reason) = &event.reason {
        attributes["message"] = json!(reason);
    }
    Mapped {
        category: IDENTITY,
        class: AUTHENTICATION,
        activity: (1, "Logon"),
        status: if event.refused.is_some() { Status::Failure } else { Status::Success },
        detail: event.refused.clone(),
        attributes,
    }
}

fn close(subject: &Subject, reason: &str) -> Mapped {
    Mapped {
        category: IDENTITY,
        class: AUTHENTICATION,
        activity: (2, "Logoff"),
        status: Status::Success,
        detail: Some(reason.into()),
        attributes: json!({
            "user": { "name": &*subject.principal },
            "service": { "name": &*subject.target },
            "session": { "uid": &*subject.session },
        }),
    }
}

fn command(event: &CommandEvent) -> Mapped {
    let text = event.rewrite.as_deref().unwrap_or(&event.text);
    let mut attributes = datastore(&event.subject);
    attributes["query_info"] = json!({ "uid": correlation(&event.subject, event.sequence), "query_string": text });
    Mapped {
        category: APPLICATION,
        class: DATASTORE_ACTIVITY,
        activity: activity(event),
        status: match &*event.outcome {
            "allow" => Status::Success,
            "deny" => Status::Failure,
            _ => Status::Other("Held for approval"),
        },
        detail: event.message.clone(),
        attributes,
    }
}

/// By the gravest of its effects.
fn activity(event: &CommandEvent) -> (u32, &'static str) {
    let effects = event.facts.effects();
    let verb = |name: &str| {
        event.facts.sql.as_ref().is_ok_and(|all| !all.is_empty() && all.iter().all(|s| s.verb.starts_with(name)))
    };
    let opaque = Effects::OPAQUE | Effects::PRIVILEGE | Effects::SERVER_FILE;
    if effects.intersects(opaque) {
        OTHER
    } else if effects.contains(Effects::DDL) {
        match () {
            () if verb("CREATE") => (6, "Create"),
            () if verb("DROP") => (7, "Delete"),
            () if verb("ALTER") => (2, "Update"),
            () => OTHER,
        }
    } else if effects.intersects(Effects::WRITE | Effects::COPY_IN) {
        match () {
            () if verb("UPDATE") => (2, "Update"),
            () if verb("DELETE") || verb("TRUNCATE") => (7, "Delete"),
            () => (5, "Write"),
        }
    } else if effects.intersects(Effects::READ | Effects::COPY_OUT) {
        (1, "Read")
    } else {
        OTHER
    }
}

fn finish(event: &FinishEvent) -> Mapped {
    let mut attributes = datastore(&event.subject);
    attributes["duration"] = json!(event.micros / 1000);
    // What the command did is told by its own event; the tag's first word is what the server says.
    let activity = match event.tag.split(' ').next().unwrap_or_default() {
        "SELECT" | "FETCH" => (1, "Read"),
        "UPDATE" => (2, "Update"),
        "INSERT" | "MERGE" => (5, "Write"),
        "CREATE" => (6, "Create"),
        "DELETE" | "DROP" | "TRUNCATE" => (7, "Delete"),
        _ => OTHER,
    };
    Mapped {
        category: APPLICATION,
        class: DATASTORE_ACTIVITY,
        activity,
        status: if event.error.is_some() { Status::Failure } else { Status::Success },
        detail: event.error.clone(),
        attributes,
    }
}

fn approval(event: &ApprovalEvent) -> Mapped {
    let activity = match &*event.what {
        "requested" => (1, "Create"),
        "approved" | "denied" | "broken-glass" | "expired" | "revoked" | "withdrawn" => (3, "Update"),
        _ => OTHER,
    };
    let mut attributes = json!({
        "entity": { "name": &*event.approval, "uid": &*event.approval, "type": "Approval" },
        "comment": event.reason,
    });
    if !event.by.is_empty() {
        attributes["actor"] = actor(&event.by, &event.subject);
    }
    Mapped {
        category: IDENTITY,
        class: ENTITY_MANAGEMENT,
        activity,
        status: match &*event.what {
            "approved" | "broken-glass" | "requested" => Status::Success,
            "denied" | "revoked" => Status::Failure,
            "expired" => Status::Other("Expired"),
            "withdrawn" => Status::Other("Withdrawn"),
            _ => Status::Other("Open"),
        },
        detail: Some(event.what.to_string()),
        attributes,
    }
}

fn recording(event: &RecordingEvent) -> Mapped {
    base(
        match &*event.state {
            "failed" | "cut" | "stopped" => Status::Failure,
            _ => Status::Success,
        },
        &format!("recording {}", event.state),
        &event.detail,
    )
}

/// What they were is in `unmapped`: it is for whoever repeats the decision.
fn inputs(event: &InputsEvent) -> Mapped {
    let policies: Vec<&str> = event.inputs.iter().map(|inputs| &*inputs.policy).collect();
    base(Status::Success, "policy inputs", &policies.join(", "))
}

fn system(event: &SystemEvent) -> Mapped {
    let activity = match &*event.what {
        "started" => (3, "Start"),
        "stopped" => (4, "Stop"),
        what => {
            let status = if what == "lost" { Status::Failure } else { Status::Success };
            let mut mapped = base(status, what, &event.detail);
            if !event.by.is_empty() {
                mapped.attributes["actor"] = json!({ "user": { "name": event.by } });
            }
            return mapped;
        }
    };
    Mapped {
        category: APPLICATION,
        class: APPLICATION_LIFECYCLE,
        activity,
        status: Status::Success,
        detail: Some(event.detail.clone()),
        attributes: json!({ "app": product() }),
    }
}

fn base(status: Status, message: &str, detail: &str) -> Mapped {
    Mapped {
        category: UNCATEGORIZED,
        class: BASE_EVENT,
        activity: OTHER,
        status,
        detail: Some(detail.into()),
        attributes: json!({ "message": message }),
    }
}

fn product() -> Value {
    json!({ "name": "Portcullis", "vendor_name": "Portcullis", "version": env!("CARGO_PKG_VERSION") })
}

fn actor(name: &str, subject: &Subject) -> Value {
    json!({ "user": { "name": name }, "session": { "uid": &*subject.session } })
}

fn groups(names: &[String]) -> Vec<Value> {
    names.iter().map(|name| json!({ "name": name })).collect()
}

fn datastore(subject: &Subject) -> Value {
    json!({
        "database": { "name": &*subject.target, "type": "Relational", "type_id": 1 },
        "type": "Database",
        "type_id": 1,
    })
}

/// The same for a command, its end and its approvals.
fn correlation(subject: &Subject, sequence: u64) -> String {
    format!("{}/{sequence}", subject.session)
}

fn endpoint(address: &str, session: &str) -> Value {
    if let Ok(address) = address.parse::<SocketAddr>() {
        json!({ "ip": address.ip().to_canonical().to_string(), "port": address.port(), "uid": session })
    } else if let Ok(ip) = address.parse::<IpAddr>() {
        json!({ "ip": ip.to_canonical().to_string(), "uid": session })
    } else {
        json!({ "uid": session })
    }
}

#[cfg(test)]
mod tests;
