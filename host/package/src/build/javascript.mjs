// Makes a component of a JavaScript or TypeScript policy: esbuild bundles its sources with the SDK, componentize-js puts the bundle
// into the engine StarlingMonkey. Called by `portcullis policy build` with a directory whose node_modules has the tools, the directory
// of the package.json, the directory of the interface, the world, a directory to work in, and the capabilities of the package.
import { readFile, writeFile } from "node:fs/promises";
import { SourceMap } from "node:module";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";

const [tools, source, wit, world, work, ...capabilities] = process.argv.slice(2);
const tool = async (name) => {
  const directory = join(tools, "node_modules", name);
  const about = JSON.parse(await readFile(join(directory, "package.json"), "utf8"));
  return import(pathToFileURL(join(directory, about.exports?.import ?? about.main)));
};
const fail = (message) => {
  console.error(`error: ${message}`);
  process.exit(1);
};

/** In tests the SDK's `#host/…` are doubles; here they are the host's interfaces. */
const host = {
  name: "host",
  setup(build) {
    build.onResolve({ filter: /^#host\// }, ({ path }) => ({
      path: `portcullis:policy/${path.slice("#host/".length)}@0.1.1`,
      external: true,
      sideEffects: false,
    }));
  },
};

const bundle = join(work, "policy.js");
const { code, places } = await bundled();
// The last line is for the stacks of what the policy throws.
await writeFile(bundle, `${code}\nglobalThis.portcullisPlaces = ${JSON.stringify(places)};\n`);
const { componentize } = await tool("@bytecodealliance/componentize-js");
// Every feature would bring imports of WASI. What is thrown reaches the log through the SDK.
const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
const options = { sourcePath: bundle, witPath: wit, worldName: world, disableFeatures };
const { component } = await componentize(options).catch(({ message }) => {
  const [, ...reasons] = message.split("\n").filter((line) => line.trim());
  const reason = reasons.slice(0, 2).join(": ") || message;
  fail(reason.replace(/\S*policy\.js:(\d+)(:\d+)?/, (place, line) => places[line - 1] || place));
});
await writeFile(join(work, "policy.wasm"), component);

/** The policy and what it imports as one module, and where each of its lines comes from. */
async function bundled() {
  const { default: esbuild } = await tool("esbuild");
  const { main = "index.js" } = JSON.parse(await readFile(join(source, "package.json"), "utf8"));
  const contents = [
    `import { printToLog } from "portcullis-sdk/sealed";`,
    `import Policy from ${JSON.stringify("./" + relative(source, join(source, main)))};`,
    `import { component } from "portcullis-sdk/guest";`,
    `export const { lifecycle, commands, rows } = component(Policy);`,
    `printToLog();`,
  ].join("\n");
  const { outputFiles, metafile } = await esbuild
    .build({
      absWorkingDir: source,
      bundle: true,
      format: "esm",
      metafile: true,
      outfile: bundle,
      platform: "neutral",
      plugins: [host],
      sourcemap: "external",
      stdin: { contents, resolveDir: source, sourcefile: "guest" },
      target: "es2022",
      write: false,
    })
    .catch(({ errors }) => {
      const { location, text } = errors[0];
      fail(location ? `${location.file}:${location.line}: ${text}` : text);
    });
  const { imports } = Object.values(metafile.outputs).find((output) => output.imports.length > 0) ?? { imports: [] };
  for (const { path } of imports) {
    const name = /^portcullis:policy\/(.*)@/.exec(path)?.[1];
    if (!["log", "detect", ...capabilities].includes(name)) {
      fail(`the policy uses ${name}, which needs a capability; say why under [capabilities] in policy.toml: ${name} = "…"`);
    }
  }
  const text = (extension) => outputFiles.find((file) => file.path.endsWith(extension)).text;
  return { code: text(".js"), places: placesOf(text(".js"), JSON.parse(text(".map"))) };
}

/** `file:line` of the source for each line of the bundle. */
function placesOf(code, map) {
  const sources = new SourceMap(map);
  return code.split("\n").map((line, index) => {
    const { originalSource, originalLine } = sources.findEntry(index, line.search(/\S|$/));
    return originalSource ? `${originalSource.split("/").pop()}:${originalLine + 1}` : "";
  });
}
