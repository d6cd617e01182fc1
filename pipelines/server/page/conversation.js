/** Questions and answers on the page. An answer is fed piece by piece; its thinking is folded. */

export class Conversation {
  /** @param {HTMLOListElement} list */
  constructor(list) {
    this.list = list;
  }

  /** @param {string} question @param {string | null} about what is shown with it */
  ask(question, about) {
    const turn = element("li", "turn");
    const asked = element("p", "asked", question);
    if (about) asked.prepend(element("span", "about", about));
    turn.append(asked);
    this.list.append(turn);
    return new Answer(turn);
  }
}

class Answer {
  #started = performance.now();
  #firstAt = null;

  constructor(turn) {
    this.turn = turn;
    this.answer = element("div", "answer");
    this.answer.setAttribute("aria-live", "polite"); // read out once it is no longer busy
    this.answer.setAttribute("aria-busy", "true");
    turn.append(this.answer);
    this.#keepInSight();
  }

  think(text) {
    this.#mark();
    const follows = this.#isInSight();
    if (!this.thoughts) {
      const fold = element("details", "thinking");
      this.summary = element("summary", "", "Thinking …");
      this.thoughts = element("p");
      fold.append(this.summary, this.thoughts);
      this.answer.before(fold);
    }
    this.thoughts.append(text);
    if (follows) this.#keepInSight();
  }

  say(text) {
    this.#mark();
    const follows = this.#isInSight();
    this.#closeThoughts();
    this.answer.append(text);
    if (follows) this.#keepInSight();
  }

  /** @param {object | null} usage of the whole answer @param {string | null} ending why it ended */
  finish(usage, ending) {
    const follows = this.#isInSight();
    this.#end();
    const facts = [];
    if (usage) {
      facts.push(`${usage.prompt_tokens} tokens read, ${usage.completion_tokens} written`);
      const seconds = (performance.now() - this.#started) / 1000;
      const first = this.#firstAt === null ? "" : `, the first after ${this.#firstAt.toFixed(2)} s`;
      facts.push(`${seconds.toFixed(1)} s${first}`);
    }
    if (ending) facts.push(ending);
    if (facts.length) this.turn.append(element("p", "facts", facts.join(" · ")));
    if (follows) this.#keepInSight();
  }

  /** @returns {string} what was answered so far */
  get text() {
    return this.answer.textContent;
  }

  /** Mark the answer as one that says that the model does not know. */
  markRefusal() {
    this.answer.classList.add("refusal");
    this.answer.after(element("p", "refused", "The model says that it does not know this."));
  }

  fail(message) {
    this.#end();
    this.answer.hidden = !this.answer.textContent;
    const failed = element("p", "failed", message);
    failed.setAttribute("role", "alert");
    this.turn.append(failed);
    this.#keepInSight();
  }

  #mark() {
    this.#firstAt ??= (performance.now() - this.#started) / 1000;
  }

  #closeThoughts() {
    if (this.summary?.textContent.endsWith("…")) {
      const seconds = (performance.now() - this.#started) / 1000;
      this.summary.textContent = `Thought for ${seconds.toFixed(1)} s`;
    }
  }

  #end() {
    this.#closeThoughts();
    this.answer.setAttribute("aria-busy", "false");
  }

  /** Whether its end is on the screen: somebody who scrolled away is not pulled back. */
  #isInSight() {
    return this.turn.getBoundingClientRect().bottom <= window.innerHeight + 4;
  }

  #keepInSight() {
    this.turn.scrollIntoView({ block: "nearest" });
  }
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
