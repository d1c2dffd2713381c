//! The host's side of `wit/policy.wit`, generated.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    world: "policy",
    path: "../../wit",
    imports: { default: trappable },
});
