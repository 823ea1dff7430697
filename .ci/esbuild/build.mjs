// Makes static/dist/: what each page in static/ links becomes one script and one style sheet.
//
// The pages say themselves what they are made of, in their <link> and <script> tags, and
// companion_ws/web/bundles.py puts the bundles in their place.

import { build } from "esbuild"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"

const STATIC = fileURLToPath(new URL("../../static", import.meta.url))
const DIST = join(STATIC, "dist")

/** What few visits need; where one is imported by `import()`, it is fetched then. */
const PARTS = new Map(["a2ui/surfaces", "core/matcher", "core/working", "net/stream", "pages/code", "screen/asking", "screen/pictures", "screen/take-away",
  ...readdirSync(join(STATIC, "js/words")).filter((each) => !["words.js", "asking.js"].includes(each)).map((each) => `words/${each.replace(".js", "")}`),
].map((name) => [join(STATIC, `js/${name}.js`), name.replaceAll("/", "-")]))
/** Stands in the name of a part until the server knows its hash, which is as long: maps stay true. */
const NO_HASH = "0000000000000000"

const fetchParts = {
  name: "fetch-parts",
  setup: ({ onResolve }) => onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
    const name = kind === "dynamic-import" ? PARTS.get(join(resolveDir, path)) : null
    return name ? { path: `./${name}.${NO_HASH}.js`, external: true } : null
  }),
}

const OPTIONS = {
  absWorkingDir: STATIC,
  bundle: true,
  charset: "utf8",
  format: "esm",
  // Whoever's code is in a bundle is named in it; nothing of ours begins a comment like that.
  legalComments: "inline",
  logLevel: "warning",
  minify: true,
  outdir: "dist",
  plugins: [fetchParts],
  sourcemap: true,
  target: "es2022",
  write: false,
}

const linked = (page, tag) => [...page.matchAll(tag)].map(([, path]) => path)
const scripts = Object.fromEntries([...PARTS].map(([file, name]) => [name, file]))
const styles = { a2ui: ["css/a2ui.css"], asking: ["css/asking.css"], "take-away": ["css/take-away.css"] }
for (const file of readdirSync(STATIC).filter((each) => each.endsWith(".html"))) {
  const page = readFileSync(join(STATIC, file), "utf8")
  const name = file.replace(".html", "")
  const [script] = linked(page, /<script type="module" src="(?:\.\.\/)*static\/(js\/[^"]+)">/g)
  if (script) scripts[name] = script
  const sheets = linked(page, /<link rel="stylesheet" href="(?:\.\.\/)*static\/(css\/[^"]+)">/g)
  if (sheets.length) styles[name] = sheets
}
const made = await Promise.all([
  build({ ...OPTIONS, entryPoints: Object.entries(scripts).map(([out, file]) => ({ in: file, out })) }),
  ...Object.entries(styles).map(([name, files]) => build({
    ...OPTIONS,
    // A brand's logo is no file here.
    external: ["*/brand/logo"],
    stdin: { contents: files.map((file) => `@import "./${file}";`).join("\n"), loader: "css", resolveDir: STATIC, sourcefile: `${name}.css` },
    outdir: undefined,
    outfile: `dist/${name}.css`,
  })),
])

mkdirSync(DIST, { recursive: true })
const kept = new Set()
for (const { path, contents } of made.flatMap(({ outputFiles }) => outputFiles)) {
  kept.add(relative(DIST, path))
  // A server that runs and a clock of files need not hear of what did not change.
  const before = (() => { try { return readFileSync(path) } catch { return null } })()
  if (!before?.equals(contents)) writeFileSync(path, contents)
}
// docs/ is docs.mjs's.
for (const file of readdirSync(DIST).filter((each) => each !== "docs" && !kept.has(each))) rmSync(join(DIST, file))
