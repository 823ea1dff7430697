// What one card may cost: a card that asks for more is cut short, and says so.

/** Elements of one card. Source: docs/screens.md. */
export const MAX_NODES = 2000
/** Values worked out at a time; a few hundred thousand are a blink on a phone. */
export const MAX_STEPS = 200_000

/** What is left of one painting's `nodes` and `steps`. */
export class Budget {
  nodes
  steps

  constructor(nodes = MAX_NODES, steps = MAX_STEPS) {
    this.nodes = nodes
    this.steps = steps
  }

  /** Take `count` nodes; throws where fewer are left. */
  takeNodes(count = 1) {
    if (this.nodes < count) throw new RangeError(`a card holds at most ${MAX_NODES} elements`)
    this.nodes -= count
  }

  /** Take `count` steps; throws where fewer are left. */
  takeSteps(count = 1) {
    if (this.steps < count) throw new RangeError("it takes too long to work out")
    this.steps -= count
  }
}
