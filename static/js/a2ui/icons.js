// The icons of A2UI's basic catalog as strokes in a 24 by 24 field; an unknown name is a dot.

import { lookUp } from "../core/protocol.js"

const CIRCLE = "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z"
const BELL = "M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zM10.5 21h3"
const EYE = "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z"
const HEART = "M12 20S4 15 4 9.5A4.2 4.2 0 0 1 12 7.5a4.2 4.2 0 0 1 8 2C20 15 12 20 12 20z"
const LOCK = "M6 11h12v9H6z"
const SPEAKER = "M4 9.5v5h3.5L12 19V5L7.5 9.5z"
const STAR = "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.9-5.2 2.9 1-5.9L3.5 9.7l5.9-.8z"
const SLASH = "M4 4l16 16"
const HANDSET = "M6 3.5h3l1.5 4.5-2 1.5a12 12 0 0 0 6 6l1.5-2 4.5 1.5v3A2 2 0 0 1 18 20.5 15 15 0 0 1 3.5 6 2 2 0 0 1 6 3.5z"
const CALENDAR = "M4 6h16v14H4zM4 10.5h16M8 3v4M16 3v4"
const PERSON = "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5a7.5 7.5 0 0 1 15 0"

const PATHS = {
  accountCircle: `${CIRCLE}M12 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM6.5 18.5a6 6 0 0 1 11 0`,
  add: "M12 5v14M5 12h14",
  arrowBack: "M19 12H5M11 6l-6 6 6 6",
  arrowForward: "M5 12h14M13 6l6 6-6 6",
  attachFile: "M17 7.5l-7.5 7.5a2 2 0 0 0 3 3L20 10.5a4.2 4.2 0 0 0-6-6L6 12.5a6.2 6.2 0 0 0 9 9",
  calendarToday: CALENDAR,
  call: HANDSET,
  camera: "M4 7.5h4l1.5-2.5h5L16 7.5h4V19H4zM12 10a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  delete: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  edit: "M4 20l1-4.5L16 4.5l3.5 3.5-11 11z",
  event: `${CALENDAR}M13 14h3v3h-3z`,
  error: `${CIRCLE}M12 7.5v5.5M12 16.5v.01`,
  fastForward: "M4 6l7 6-7 6zM12 6l7 6-7 6z",
  favorite: HEART,
  favoriteOff: `${HEART}${SLASH}`,
  folder: "M3.5 6h6l2 2.5h9V19h-17z",
  help: `${CIRCLE}M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M12 17v.01`,
  home: "M4 11.5L12 4.5l8 7M6 10v9.5h12V10M10 19.5V14h4v5.5",
  info: `${CIRCLE}M12 11v6M12 7.5v.01`,
  locationOn: "M12 21s7-6.5 7-11.5a7 7 0 0 0-14 0C5 14.5 12 21 12 21zM12 7a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  lock: `${LOCK}M8.5 11V8a3.5 3.5 0 0 1 7 0v3`,
  lockOpen: `${LOCK}M8.5 11V7.5a3.5 3.5 0 0 1 6.8-1`,
  mail: "M3.5 5.5h17v13h-17zM3.5 7l8.5 6 8.5-6",
  menu: "M4 7h16M4 12h16M4 17h16",
  moreVert: "M12 5v.01M12 12v.01M12 19v.01",
  moreHoriz: "M5 12h.01M12 12h.01M19 12h.01",
  notificationsOff: `${BELL}${SLASH}`,
  notifications: BELL,
  pause: "M8 5v14M16 5v14",
  payment: "M3 6h18v12H3zM3 10h18M6 15h4",
  person: PERSON,
  phone: HANDSET,
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 8.5v.01",
  play: "M7 4.5l12 7.5-12 7.5z",
  print: "M7 9V4h10v5M5 9h14v8h-3M8 14h8v6H8zM5 17h3M5 9v8",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9M20 4v5h-5",
  rewind: "M20 6l-7 6 7 6zM12 6l-7 6 7 6z",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20.5 20.5",
  send: "M4 11.5L20.5 4l-7 16.5-2.5-7z",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  share: "M12 15V4M8 7.5L12 3.5l4 4M6 11.5v9h12v-9",
  shoppingCart: "M3 4.5h3l2 11h10l2-8H7M9.5 19.5v.01M16.5 19.5v.01",
  skipNext: "M6 5l9 7-9 7zM18 5v14",
  skipPrevious: "M18 5l-9 7 9 7zM6 5v14",
  star: STAR,
  starHalf: `${STAR}M12 4v13`,
  starOff: `${STAR}${SLASH}`,
  stop: "M6 6h12v12H6z",
  upload: "M12 20V9M7 13.5l5-5 5 5M5 4h14",
  visibility: EYE,
  visibilityOff: `${EYE}${SLASH}`,
  volumeDown: `${SPEAKER}M15.5 9.5a4 4 0 0 1 0 5`,
  volumeMute: SPEAKER,
  volumeOff: `${SPEAKER}M16 9.5l5 5M21 9.5l-5 5`,
  volumeUp: `${SPEAKER}M15.5 9.5a4 4 0 0 1 0 5M18.5 7a8 8 0 0 1 0 10`,
  warning: "M12 4l9 16H3zM12 10v5M12 17.5v.01",
}

/** The path of an icon; names may be written camelCase or snake_case. */
export function pathOf(name) {
  const key = typeof name === "string" ? name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()) : ""
  return lookUp(PATHS, key) ?? "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z"
}
