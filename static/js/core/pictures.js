// Which words of a record are pictures. The twin of `is_picture` in companion_ws/core/pictures.py;
// tests/wire/pictures/cases.json holds both to the same cases.

const MAX_URL_CHARS = 2048
const ENDS = /\.(?:png|jpe?g|webp|gif)$/i
const OTHER = /\.[a-z][a-z0-9]{1,4}$/i
const KEYS = /(?:^|_)(?:image|img|photo|picture|pic|thumbnail|thumb|logo|avatar)s?(?:_(?:url|uri|src|href|link))?$/i
const ADDRESS_KEYS = new Set(["url", "uri", "src", "href", "link"])
const INLINE = /^data:image\/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+=*$/

/** Whether `text`, found under `key`, is the address of a picture. */
export function isPicture(key, text) {
  if (typeof text !== "string" || text.length > MAX_URL_CHARS || !/^https?:\/\/\S+$/i.test(text)) return false
  const path = pathOf(text)
  if (path === null) return false
  if (ENDS.test(path)) return true
  return !OTHER.test(path) && KEYS.test(key.replace(/([a-z0-9])(?=[A-Z])/g, "$1_"))
}

/** Whether `text` is a picture by itself: its bytes stand in it. */
export function isInline(text) {
  return typeof text === "string" && text.startsWith("data:image/") && INLINE.test(text)
}

/** The key that a picture within an object is judged by: `url` stands for what the object is called. */
export function keyWithin(key, name) {
  return ADDRESS_KEYS.has(key.toLowerCase()) && name ? name : key
}

/** The path as it is written, which is what the server goes by, too. */
function pathOf(text) {
  try {
    new URL(text)
  } catch {
    return null
  }
  return text.replace(/^https?:\/\/[^/?#]*/i, "").replace(/[?#].*$/s, "")
}
