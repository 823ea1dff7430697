// Where a person reads: what comes or goes above it must not move it.

/** Nearer to the top than this, the newest is what is read. */
const AT_TOP_PX = 80

/** What of `list` is being read and where it stands, or null at the top. */
export function placeIn(list) {
  if (scrollY < AT_TOP_PX) return null
  const node = [...list.children].find((each) => each.getBoundingClientRect().bottom > 0)
  return node ? { node, top: node.getBoundingClientRect().top } : null
}

/** Put what was being read back to its `place`. */
export function hold(place) {
  const moved = place?.node.isConnected ? place.node.getBoundingClientRect().top - place.top : 0
  // Scrolling by nothing would stop a smooth scroll that is under way.
  if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" })
}
