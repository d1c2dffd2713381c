//! What wit-bindgen makes of `wit/policy.wit`. Imports and each exported interface are worlds of their own, so that a policy
//! exports what it answers and nothing else; they share the types of `imports`.

#![allow(missing_docs, reason = "the WIT file documents them")]

pub mod imports {
    wit_bindgen::generate!({
        inline: "
            package portcullis:sdk-imports;
            world imports {
                include portcullis:policy/host-imports@0.1.1;
                import portcullis:policy/types@0.1.1;
            }
        ",
        path: "../../wit",
        world: "portcullis:sdk-imports/imports",
        additional_derives: [PartialEq, Eq],
        generate_unused_types: true,
        generate_all,
    });
}

pub mod lifecycle {
    wit_bindgen::generate!({
        inline: "
            package portcullis:sdk-lifecycle;
            world lifecycle { export portcullis:policy/lifecycle@0.1.1; }
        ",
        path: "../../wit",
        world: "portcullis:sdk-lifecycle/lifecycle",
        with: { "portcullis:policy/types@0.1.1": crate::bindings::imports::portcullis::policy::types },
        export_macro_name: "export_lifecycle",
        pub_export_macro: true,
    });
}

pub mod commands {
    wit_bindgen::generate!({
        inline: "
            package portcullis:sdk-commands;
            world commands { export portcullis:policy/commands@0.1.1; }
        ",
        path: "../../wit",
        world: "portcullis:sdk-commands/commands",
        with: {
            "portcullis:policy/types@0.1.1": crate::bindings::imports::portcullis::policy::types,
            "portcullis:policy/facts@0.1.1": crate::bindings::imports::portcullis::policy::facts,
        },
        export_macro_name: "export_commands",
        pub_export_macro: true,
    });
}

pub mod rows {
    wit_bindgen::generate!({
        inline: "
            package portcullis:sdk-rows;
            world rows { export portcullis:policy/rows@0.1.1; }
        ",
        path: "../../wit",
        world: "portcullis:sdk-rows/rows",
        with: {
            "portcullis:policy/types@0.1.1": crate::bindings::imports::portcullis::policy::types,
            "portcullis:policy/facts@0.1.1": crate::bindings::imports::portcullis::policy::facts,
        },
        additional_derives: [PartialEq, Eq],
        export_macro_name: "export_rows",
        pub_export_macro: true,
    });
}
