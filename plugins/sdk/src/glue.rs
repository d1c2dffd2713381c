//! Between a policy and the functions that its component exports.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::{Error, Policy, SettingError, load};

/// A policy with a place for its one instance. [`crate::export!`] implements it.
pub trait Exported: Policy {
    /// The kinds of command that it is asked about; none where it does not export `commands`.
    fn registered(&self) -> &'static [&'static str];

    /// The place.
    fn slot() -> &'static LocalKey<RefCell<Option<Self>>>;
}

/// Implements the exported interfaces for a policy.
pub struct Component<P>(PhantomData<P>);

impl<P: Exported> Component<P> {
    /// Asks the instance. The host configures an instance before anything else, so an empty place is its mistake.
    #[cfg(target_arch = "wasm32")]
    fn ask<T>(question: impl FnOnce(&mut P) -> Result<T, Error>) -> Result<T, Error> {
        P::slot().with_borrow_mut(|policy| match policy {
            Some(policy) => question(policy),
            None => Err(Error::new("not-configured", "the policy was asked before it was configured")),
        })
    }

    /// Makes a panic tell the log what and where it was: a module without an operating system has no stderr, and the
    /// gateway sees a trap without a message.
    #[cfg(target_arch = "wasm32")]
    fn tell_panics() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|at| format!(" at {at}")).unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("no message");
            crate::log::write(crate::log::Level::Error, &format!("panicked{place}: {message}"));
        }));
    }

    /// Fills the place.
    pub fn configure(settings: &str) -> Result<Vec<String>, Error> {
        let policy = load::<P>(settings).map_err(|errors: Vec<SettingError>| {
            let lines: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.path, e.message)).collect();
            Error::new("bad-settings", lines.join("; "))
        })?;
        let kinds = policy.registered().iter().map(|k| (*k).to_owned()).collect();
        P::slot().set(Some(policy));
        Ok(kinds)
    }
}

#[cfg(target_arch = "wasm32")]
mod exports {
    use crate::bindings::{
        commands::exports::portcullis::policy::commands, lifecycle::exports::portcullis::policy::lifecycle,
        rows::exports::portcullis::policy::rows,
    };
    use crate::{BatchResult, Chunk, Command, Commands, Error, Plan, ResultSet, Rows, Session, SettingError, Verdict};

    use super::{Component, Exported};

    impl<P: Exported> lifecycle::Guest for Component<P> {
        fn validate_settings(settings: String) -> Result<(), Vec<SettingError>> {
            Self::tell_panics();
            crate::load::<P>(&settings).map(drop)
        }

        fn configure(settings: String) -> Result<lifecycle::Registration, Error> {
            Self::tell_panics();
            Ok(lifecycle::Registration { commands: Self::configure(&settings)? })
        }
    }

    impl<P: Exported + Commands> commands::Guest for Component<P> {
        fn open(s: &Session) -> Result<Verdict, Error> {
            Self::ask(|p| p.open(s))
        }

        fn check(s: &Session, c: &Command) -> Result<Verdict, Error> {
            Self::ask(|p| p.check(s, c))
        }

        fn approved(s: &Session, c: &Command, approvers: Vec<String>) -> Result<Verdict, Error> {
            Self::ask(|p| p.approved(s, c, &approvers))
        }
    }

    impl<P: Exported + Rows> rows::Guest for Component<P> {
        fn plan_result(s: &Session, c: &Command, r: &ResultSet) -> Result<Plan, Error> {
            Self::ask(|p| p.plan(s, c, r))
        }

        fn filter_batch(
            s: &Session,
            c: &Command,
            r: &ResultSet,
            rows: u32,
            chunks: Vec<Chunk>,
        ) -> Result<BatchResult, Error> {
            Self::ask(|p| p.filter(s, c, r, rows, &chunks))
        }
    }
}

/// Makes a component of a policy: `export!(MyPolicy: commands)`, `export!(MyPolicy: rows)` or
/// `export!(MyPolicy: commands, rows)`. Hooks that are not named are not exported, and the gateway never asks them.
#[macro_export]
macro_rules! export {
    ($policy:ident: commands) => {
        $crate::__export!($policy, <$policy as $crate::Commands>::kinds);
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::commands::export_commands!(PortcullisComponent with_types_in $crate::bindings::commands);
    };
    ($policy:ident: rows) => {
        $crate::__export!($policy, |_: &$policy| -> &'static [&'static str] { &[] });
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::rows::export_rows!(PortcullisComponent with_types_in $crate::bindings::rows);
    };
    ($policy:ident: commands, rows) => {
        $crate::export!($policy: commands);
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::rows::export_rows!(PortcullisComponent with_types_in $crate::bindings::rows);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($policy:ident, $kinds:expr) => {
        #[cfg(target_arch = "wasm32")]
        type PortcullisComponent = $crate::glue::Component<$policy>;

        impl $crate::glue::Exported for $policy {
            fn registered(&self) -> &'static [&'static str] {
                let kinds: fn(&Self) -> &'static [&'static str] = $kinds;
                kinds(self)
            }

            fn slot() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<::std::option::Option<Self>>> {
                ::std::thread_local! {
                    static SLOT: ::std::cell::RefCell<::std::option::Option<$policy>> =
                        const { ::std::cell::RefCell::new(::std::option::Option::None) };
                }
                &SLOT
            }
        }

        // Elsewhere nothing is exported, but the policy is no dead code.
        const _: fn(&str) -> ::std::result::Result<$policy, ::std::vec::Vec<$crate::SettingError>> = $crate::load;

        #[cfg(target_arch = "wasm32")]
        $crate::bindings::lifecycle::export_lifecycle!(PortcullisComponent with_types_in $crate::bindings::lifecycle);
    };
}
