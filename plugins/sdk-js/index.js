/**
 * Write Portcullis policies in JavaScript or TypeScript: a class, the default export of `policy.js`, that is made from its settings.
 * `index.d.ts` documents everything.
 */
export * from "./answers.js";
export * from "./rows.js";
export * as clock from "./clock.js";
export * as crypto from "./crypto.js";
export * as detect from "./detect.js";
export * as log from "./log.js";
export * as random from "./random.js";
export * as state from "./state.js";
