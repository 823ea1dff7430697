// Where this script came from: `static/js/`, module by module, or `static/dist/`, one file a page.

const [, base, folder, hash = ""] = /^(.*\/)static\/(js|dist)\/(?:[^/.]+(\.[^/.]+)\.js$)?/.exec(import.meta.url)

/** Where the server's routes begin; ends with a slash. */
export const BASE = new URL(base)

/** The address of a style sheet that few need; `name` is that in static/css without `.css`. */
export function styleOf(name) {
  // All bundles of one start of the server share the hash in their names.
  return new URL(folder === "js" ? `static/css/${name}.css` : `static/dist/${name}${hash}.css`, BASE).href
}
