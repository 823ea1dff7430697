// Makes static/dist/docs/: every page of docs/ as HTML, and the list of them in docs.json.
//
// docs/index.md is the table of contents: its headings are the groups, the first link of each list
// entry is a page. Pages that it does not name (decisions, files that a page links) are made too, and
// found by links and search. A link stands as `page:NAME#part`, a picture as `page:images/FILE`:
// companion_ws/web/docs/site.py knows where a page is served and writes the address. A link to what
// is not there ends the build.

import MarkdownIt from "markdown-it"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { dirname, join, posix } from "node:path"
import { fileURLToPath } from "node:url"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
const MADE = join(ROOT, "static/dist/docs")
const HOME = "docs/index.md"
/** Made from the types by the server itself; its file in docs/ is for readers of the repository. */
const API = "docs/api.md"
/** The decisions, whose list is made of their titles. */
const DECISIONS = "docs/decisions"
/** Pages that do not stand in docs/. */
const BESIDE = { "README.md": "readme", "SECURITY.md": "security", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing", "examples/README.md": "examples/readme", "benchmarks/README.md": "benchmarks" }
const LONGEST = 60_000

const read = (path) => readFileSync(join(ROOT, path), "utf8")
const below = (folder) => readdirSync(join(ROOT, folder), { recursive: true })
  .map((each) => posix.join(folder, each)).filter((each) => each.endsWith(".md")).sort()

const names = new Map([...below("docs").map((path) => [path, path.slice("docs/".length, -".md".length)]), ...Object.entries(BESIDE)])
const paths = new Map([...names].map(([path, name]) => [name, path]))
const pathOf = (name) => paths.get(name) ?? name
/** Files that pages link, by the page each becomes. */
const files = new Set()
const faults = []

/** The id GitHub gives a heading, so that a link to a part works there and here. */
function slug(text, taken) {
  const plain = text.toLowerCase().replace(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-")
  let name = plain
  for (let n = 1; taken.has(name); n++) name = `${plain}-${n}`
  taken.add(name)
  return name
}

/** Where a link of the file `from` leads, in the form that site.py reads. */
function target(from, href) {
  if (/^(https?|mailto):/.test(href)) return href
  const [path, part] = decodeURI(href).split("#")
  if (!path) return `page:${names.get(from)}#${part}`
  let file = posix.join(dirname(from), path).replace(/\/$/, "")
  if (!existsSync(join(ROOT, file))) faults.push(`${from}: ${href} leads nowhere`)
  else if (file === DECISIONS) return "page:decisions"
  else if (statSync(join(ROOT, file)).isDirectory()) file += "/README.md"
  if (/^docs\/images\/[\w-]+\.png$/.test(file)) return `page:images/${file.slice("docs/images/".length)}`
  if (!names.has(file)) {
    if (file.endsWith(".md")) faults.push(`${from}: ${file} is a page without a name in docs.mjs`)
    files.add(file)
    return `page:${file}`
  }
  return `page:${names.get(file)}${part ? `#${part}` : ""}`
}

/** What a page is called: in the contents, else in its own title. */
const titleOf = (name) => titles.get(name) ?? read(pathOf(name)).match(/^# (.+)/m)[1].replaceAll("`", "")
const titles = new Map()

const markdown = new MarkdownIt({ html: false, typographer: false })
const text = (inline) => inline.children.map((each) => each.content).join("")

/** Prepares the tokens of a page: ids, addresses, and tables that can be laid out another way. */
markdown.core.ruler.push("companion", ({ tokens, env }) => {
  const taken = new Set()
  let heads = []
  let cell = 0
  tokens.forEach((token, at) => {
    const roles = { table_open: "table", thead_open: "rowgroup", tbody_open: "rowgroup", tr_open: "row", th_open: "columnheader", td_open: "cell" }
    if (roles[token.type]) token.attrSet("role", roles[token.type])
    if (token.type === "heading_open") {
      token.attrSet("id", slug(text(tokens[at + 1]), taken))
      env.ids.add(token.attrGet("id"))
      if (token.tag === "h1") env.title = text(tokens[at + 1])
    }
    if (token.type === "table_open") { token.attrSet("class", "codes"); heads = [] }
    if (token.type === "tr_open") cell = 0
    if (token.type === "th_open") { token.attrSet("scope", "col"); heads.push(text(tokens[at + 1])) }
    if (token.type === "td_open" && heads[cell++]) token.attrSet("data-head", heads[cell - 1])
    token.children?.forEach((each, index) => {
      if (each.type === "link_open") {
        each.attrSet("href", target(env.file, each.attrGet("href")))
        env.links.push(each.attrGet("href"))
        const name = each.attrGet("href").startsWith("page:") && each.attrGet("href").slice("page:".length).split("#")[0]
        if (!name) each.attrSet("rel", "noreferrer")
        // In the repository a link says which file it opens, here which page.
        const said = token.children[index + 1]
        if (name && said.type === "text" && said.content.endsWith(".md")) said.content = titleOf(name)
      }
      if (each.type === "image") {
        const path = posix.join(dirname(env.file), each.attrGet("src"))
        const [width, height] = sizeOf(path)
        each.attrSet("src", target(env.file, each.attrGet("src")))
        each.attrs.push(["width", width], ["height", height], ["loading", "lazy"])
      }
    })
  })
})

/** Code scrolls by itself, so it can have the focus. */
const block = (code, label) =>
  `<pre tabindex="0" role="group" aria-label="${markdown.utils.escapeHtml(label)}"><code>${markdown.utils.escapeHtml(code)}</code></pre>\n`
const LANGUAGES = { sh: "Shell", bash: "Shell", python: "Python", javascript: "JavaScript", jsx: "JavaScript", json: "JSON", yaml: "YAML", toml: "TOML", html: "HTML", nginx: "nginx" }
markdown.renderer.rules.fence = (tokens, at) => block(tokens[at].content, LANGUAGES[tokens[at].info] ?? "Code")
markdown.renderer.rules.code_block = (tokens, at) => block(tokens[at].content, "Code")

/** Width and height of a PNG, so that the page does not move when it comes. */
function sizeOf(path) {
  const head = readFileSync(join(ROOT, path)).subarray(16, 24)
  return [String(head.readUInt32BE(0)), String(head.readUInt32BE(4))]
}

/** Comments mark what tests run; they are for no reader. A picture with a width of its own is a picture. */
const source = (path) => read(path).replace(/^ *<!--[^]*?-->\n/gm, "").replace(/^<img src="([^"]+)" alt="([^"]+)"[^>]*>$/gm, "![$2]($1)")

/** The groups of the contents: a title, and the pages with their names in it. */
function contents() {
  const groups = []
  const tokens = markdown.parse(source(HOME), { file: HOME, ids: new Set(), links: [] })
  tokens.forEach((token, at) => {
    if (token.type === "heading_open" && token.tag === "h2") groups.push({ title: text(tokens[at + 1]), pages: [] })
    if (token.type !== "list_item_open") return
    const { children } = tokens[at + 2]
    const [link, label] = children.slice(children.findIndex((each) => each.type === "link_open"))
    groups.at(-1).pages.push([link.attrGet("href").slice("page:".length).split("#")[0], label.content])
  })
  return groups
}

const groups = contents()
for (const { pages: listed } of groups) for (const [name, label] of listed) titles.set(name, label)

const pages = new Map()
function make(path) {
  const env = { file: path, ids: new Set(), links: [], title: "" }
  const body = markdown.render(source(path), env)
  pages.set(names.get(path), { title: env.title, body, ids: env.ids, links: env.links })
}

for (const path of names.keys()) if (path !== API) make(path)
const decided = below(DECISIONS).map((path) => `- [${titleOf(names.get(path))}](${posix.relative("docs", path)})`)
const list = `# Decisions\n\nWhy a library or a form was chosen, and what was weighed against it.\n\n${decided.join("\n")}\n`
pages.set("decisions", { title: "Decisions", body: markdown.render(list, { file: HOME, ids: new Set(), links: [] }), ids: new Set(), links: [] })
for (const file of [...files].sort()) {
  const code = read(file)
  if (code.length > LONGEST) faults.push(`${file} is too long for a page`)
  const body = `<h1 id="file">${markdown.utils.escapeHtml(file)}</h1>\n${block(code, file)}`
  pages.set(file, { title: file, body, ids: new Set(["file"]), links: [] })
}

if (paths.size < names.size) faults.push(`two files are one page: ${[...names.keys()].filter((path) => pathOf(names.get(path)) !== path).join(", ")}`)
for (const [name, { links }] of pages) {
  for (const link of links.filter((each) => each.startsWith("page:"))) {
    const [to, part] = link.slice("page:".length).split("#")
    // The parts of the API page are known when the server runs; tests follow those links.
    if (to === "api" || to.startsWith("images/")) continue
    if (part && !pages.get(to)?.ids.has(part)) faults.push(`${name}: there is no part ${part} in ${to}`)
  }
}

const named = new Set(groups.flatMap((group) => group.pages.map(([name]) => name)))
const others = [...pages].filter(([name]) => !named.has(name)).map(([name, { title }]) => [name, title])
for (const path of below("docs")) {
  if (!path.startsWith(`${DECISIONS}/`) && path !== HOME && !named.has(names.get(path))) faults.push(`docs/index.md does not name ${path}`)
}
if (faults.length) {
  console.error(faults.join("\n"))
  process.exit(1)
}

/** Each page begins with the hash of its source, by which tests see that one has changed. */
const hashed = (path) => !existsSync(join(ROOT, path)) ? "" : `<!-- ${path} ${createHash("sha256").update(read(path)).digest("hex").slice(0, 16)} -->\n`
const made = new Map([...pages].map(([name, { body }]) => [`${name}.html`, hashed(pathOf(name)) + body]))
const line = (list) => list.map((each) => `  ${JSON.stringify(each)}`).join(",\n")
made.set("docs.json", `{"groups": [\n${line(groups)}\n], "others": [\n${line(others)}\n]}\n`)

for (const [name, body] of made) {
  const path = join(MADE, name)
  mkdirSync(dirname(path), { recursive: true })
  if (!existsSync(path) || readFileSync(path, "utf8") !== body) writeFileSync(path, body)
}
for (const file of readdirSync(MADE, { recursive: true, withFileTypes: true })) {
  const path = join(file.parentPath, file.name)
  if (file.isFile() && !made.has(posix.relative(MADE, path))) rmSync(path)
}
