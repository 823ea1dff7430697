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
  try {
    const { pathname } = new URL(text)
    return ENDS.test(pathname) || (!OTHER.test(pathname) && KEYS.test(key.replace(/([a-z0-9])(?=[A-Z])/g, "$1_")))
  } catch {
    return false
  }
}

/** Whether `text` is a picture by itself: its bytes stand in it. */
export function isInline(text) {
  return typeof text === "string" && text.startsWith("data:image/") && INLINE.test(text)
}

/** Whether a value found under `key` is a picture: the address of one, or one by itself. */
export function isShown(key, value) {
  return isPicture(key, value) || isInline(value)
}

/** The key that a picture within an object is judged by: `url` stands for what the object is called. */
export function keyWithin(key, name) {
  return ADDRESS_KEYS.has(key.toLowerCase()) && name ? name : key
}
