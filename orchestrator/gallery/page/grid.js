// A grid of thousands of cards, of which only those in sight exist.

const WIDTH = 196, HEIGHT = 220, SPARE_ROWS = 2, AT_ONCE = 60;

export class Grid {
  // `fetchEntries(numbers)` gives a promise of entries; `fill(card, entry)` shows one; `open(place)` is called by Enter.
  constructor(scroller, sheet, fetchEntries, fill, open) {
    Object.assign(this, { scroller, sheet, fetchEntries, fill, open });
    this.numbers = [];
    this.entries = new Map();
    this.cards = new Map();
    this.current = 0;
    this.waiting = new Set();
    scroller.addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(() => this.later()).observe(scroller);
    sheet.addEventListener("keydown", event => this.key(event));
    sheet.addEventListener("focusin", event => {
      if (event.target.dataset.place) this.current = Number(event.target.dataset.place);
    });
  }

  show(numbers) {
    this.numbers = numbers;
    this.current = 0;
    this.cards.forEach(card => card.remove());
    this.cards.clear();
    this.scroller.scrollTop = 0;
    this.draw();
  }

  forget(number) { this.entries.delete(number); }

  later() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  get columns() { return Math.max(1, Math.floor((this.scroller.clientWidth - 32) / WIDTH)); }

  draw() {
    const columns = this.columns, rows = Math.ceil(this.numbers.length / columns);
    this.sheet.style.height = `${rows * HEIGHT + 12}px`;
    const top = Math.floor(this.scroller.scrollTop / HEIGHT) - SPARE_ROWS;
    const bottom = Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / HEIGHT) + SPARE_ROWS;
    const first = Math.max(0, top * columns), last = Math.min(this.numbers.length, bottom * columns);
    for (const [place, card] of this.cards) {
      if ((place < first || place >= last) && card !== document.activeElement) {
        card.remove();
        this.cards.delete(place);
      }
    }
    const missing = [];
    for (let place = first; place < last; place++) {
      const card = this.cards.get(place) || this.make(place);
      card.style.transform = `translate(${(place % columns) * WIDTH}px, ${Math.floor(place / columns) * HEIGHT + 12}px)`;
      card.tabIndex = place === this.current ? 0 : -1;
      const number = this.numbers[place], entry = this.entries.get(number);
      if (entry && card.dataset.filled !== "1") { card.dataset.filled = "1"; this.fill(card, entry); }
      if (!entry && !this.waiting.has(number)) missing.push(number);
    }
    if (!this.cards.has(this.current) && this.cards.size) this.cards.get(Math.min(...this.cards.keys())).tabIndex = 0;
    for (let start = 0; start < missing.length; start += AT_ONCE) this.fetch(missing.slice(start, start + AT_ONCE));
  }

  make(place) {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "card";
    card.dataset.place = place;
    card.setAttribute("role", "listitem");
    card.setAttribute("aria-setsize", this.numbers.length);
    card.setAttribute("aria-posinset", place + 1);
    card.addEventListener("click", () => this.open(place));
    this.cards.set(place, card);
    // In the order of reading, for whoever goes from card to card.
    const after = [...this.sheet.children].find(other => Number(other.dataset.place) > place);
    this.sheet.insertBefore(card, after || null);
    return card;
  }

  async fetch(numbers) {
    numbers.forEach(number => this.waiting.add(number));
    try {
      for (const entry of await this.fetchEntries(numbers)) this.entries.set(entry.number, entry);
      this.later();
    } finally {
      numbers.forEach(number => this.waiting.delete(number));
    }
  }

  async entry(place) {
    const number = this.numbers[place];
    if (!this.entries.has(number)) await this.fetch([number]);
    return this.entries.get(number);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / HEIGHT)) * this.columns;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page,
      PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.focus(Math.min(this.numbers.length - 1, Math.max(0, this.current + steps[event.key])));
  }

  focus(place) {
    this.current = place;
    const top = Math.floor(place / this.columns) * HEIGHT, view = this.scroller;
    if (top < view.scrollTop) view.scrollTop = top;
    if (top + HEIGHT + 12 > view.scrollTop + view.clientHeight) view.scrollTop = top + HEIGHT + 12 - view.clientHeight;
    this.draw();
    this.cards.get(place)?.focus({ preventScroll: true });
  }
}
