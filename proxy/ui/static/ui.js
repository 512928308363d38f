/* The script of all screens: refresh, freshness, keys. Every page works without it. It keeps nothing and decides nothing. */
"use strict";
(() => {
  const refreshMs = Number(document.body.dataset.refresh) * 1000;
  let paused = false;
  let pausedAt = "";
  let failedSince = 0;
  let reading = false;

  // Freshness: the age of the figures, counted on between two refreshes.

  const seconds = (value) => {
    const whole = Math.max(0, Math.floor(value));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h`;
    return `${Math.floor(whole / 86400)} d`;
  };
  const clock = () => new Date().toISOString().slice(11, 19);

  function showFreshness() {
    const element = document.getElementById("freshness");
    if (!element) return;
    const state = element.querySelector(".state");
    const age = element.querySelector(".age");
    const now = Date.now() / 1000;
    for (const one of document.querySelectorAll(".ago[data-at]")) one.textContent = `${seconds(now - one.dataset.at)} ago`;
    if (paused) {
      state.textContent = `paused at ${pausedAt}`;
    } else if (failedSince) {
      state.classList.add("failed");
      state.textContent = element.dataset.at ? `refresh failed, ${seconds(now - element.dataset.at)} old` : "refresh failed";
    } else if (element.dataset.reading !== "" && element.dataset.at) {
      state.textContent = `reading, ${seconds(now - element.dataset.at)}`;
    } else if (age && element.dataset.at && !element.dataset.error) {
      age.textContent = `${seconds(now - element.dataset.at)} ago`;
    }
    for (const one of document.querySelectorAll(".reading[data-since]")) {
      one.dataset.since = Number(one.dataset.since) + 1;
      one.textContent = `reading … ${one.dataset.since} s`;
    }
  }

  // Refresh: the same URL, put in place piece by piece, so that focus, selection and unfolded parts stay.

  async function refresh() {
    if (reading || document.hidden || paused || isBusy()) return;
    reading = true;
    try {
      // (after a POST the page is refreshed by the URL of its screen)
      await htmx.ajax("GET", document.body.dataset.url, { target: "#live", select: "#live", swap: "outerMorph" });
    } finally {
      reading = false;
    }
  }

  /** Return whether a person is in the middle of something that a refresh could disturb. */
  function isBusy() {
    const active = document.activeElement;
    const typing = active && active.matches("input:not([type=checkbox]), textarea, select");
    return typing || document.querySelector("dialog[open], details.span[open]");
  }

  document.addEventListener("htmx:before:swap", (event) => {
    const status = event.detail.ctx.response?.status ?? 0;
    if (status >= 400) event.preventDefault();
  });
  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx.response?.status ?? 0;
    if (event.detail.ctx.response?.raw?.redirected) location.reload();
    failedSince = status >= 400 ? failedSince || Date.now() : 0;
    showFreshness();
  });
  document.addEventListener("htmx:error", () => {
    failedSince = failedSince || Date.now();
    showFreshness();
  });
  document.addEventListener("visibilitychange", () => refresh());

  function loop() {
    setTimeout(async () => {
      await refresh().catch(() => {});
      loop();
    }, document.querySelector(".reading[data-since]") ? 300 : refreshMs);
  }

  function togglePause(button) {
    paused = !paused;
    pausedAt = clock();
    button.setAttribute("aria-pressed", String(paused));
    if (!paused) refresh();
    showFreshness();
  }

  // Presses that need the script.

  document.addEventListener("click", (event) => {
    const pause = event.target.closest("#pause");
    if (pause) togglePause(pause);
    const opener = event.target.closest("[data-opens]");
    if (opener) openKeys();
    const toggle = event.target.closest("[data-toggles]");
    if (toggle) {
      const open = document.querySelector(".rail").classList.toggle("open");
      toggle.setAttribute("aria-expanded", String(open));
    }
    const copy = event.target.closest("[data-copies]");
    if (copy) navigator.clipboard?.writeText(document.getElementById(copy.dataset.copies).textContent);
    const openSpan = document.querySelector("details.span[open]");
    if (openSpan && !openSpan.contains(event.target)) openSpan.removeAttribute("open");
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // Keys: each presses a visible control, which shows it. No single key changes what is served.

  const visible = (element) => element.getClientRects().length > 0;
  const control = (key) =>
    [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key && visible(one) && !one.disabled);

  function press(key) {
    const element = control(key);
    if (!element) return false;
    if (element.matches("input:not([type=checkbox]), textarea, select")) element.focus();
    else element.click();
    return true;
  }

  function openKeys() {
    const dialog = document.getElementById("keys");
    const list = document.getElementById("key-list");
    list.replaceChildren();
    const rows = document.querySelector("[data-row]") ? [["j k", "move between rows"], ["Enter", "open the row"]] : [];
    const controls = [...document.querySelectorAll("[data-key]")].filter(visible).map((one) => {
      const copy = one.cloneNode(true);
      for (const hint of copy.querySelectorAll("kbd, small, svg")) hint.remove();
      const text = copy.textContent.trim() || one.getAttribute("aria-label") || one.getAttribute("placeholder") || one.title;
      return [one.dataset.key, text];
    });
    for (const [key, text] of [...controls, ...rows]) {
      const term = document.createElement("dt");
      const hint = document.createElement("kbd");
      hint.textContent = key;
      term.append(hint);
      const words = document.createElement("dd");
      words.textContent = text;
      list.append(term, words);
    }
    if (!dialog.open) dialog.showModal();
  }

  function moveRow(step) {
    const rows = [...document.querySelectorAll("[data-row]")].filter(visible);
    if (!rows.length) return;
    const index = rows.findIndex((row) => row.classList.contains("current"));
    const next = rows[Math.min(rows.length - 1, Math.max(0, index + step))];
    for (const row of rows) row.classList.toggle("current", row === next);
    next.scrollIntoView({ block: "nearest" });
    (next.querySelector("[data-open]") || next.querySelector("a, button, input") || next).focus({ preventScroll: true });
  }

  const currentRow = () => document.querySelector("[data-row].current");
  let prefix = "";

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (press("ctrl+Enter")) event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (document.querySelector("dialog[open]")) return;
      if (typing) event.target.blur();
      else press("Escape");
      return;
    }
    if (typing || document.querySelector("dialog[open]")) return;
    const key = event.shiftKey && /^[A-Z]$/.test(event.key) ? `shift+${event.key}` : event.key;
    if (prefix) {
      const combination = `${prefix} ${key}`;
      prefix = "";
      if (press(combination)) event.preventDefault();
      return;
    }
    if (key === "g" && [...document.querySelectorAll("[data-key^='g ']")].length) {
      prefix = "g";
      return;
    }
    if (key === "j" || key === "k") moveRow(key === "j" ? 1 : -1);
    else if (key === "x" && currentRow()?.querySelector("input[type=checkbox]")) currentRow().querySelector("input[type=checkbox]").click();
    else if (key === "Enter" && event.target === document.body && currentRow()) currentRow().querySelector("a")?.click();
    else if (!press(key)) return;
    event.preventDefault();
  });

  // A reason that is missing is said beside the field; the button stays enabled.

  document.addEventListener("submit", (event) => {
    const reason = event.target.querySelector("[name=reason]");
    if (!reason || reason.value.trim() || event.submitter?.formNoValidate) return;
    event.preventDefault();
    reason.setAttribute("aria-invalid", "true");
    const error = document.getElementById(reason.getAttribute("aria-describedby") || "");
    if (error) error.textContent = reason.dataset.needs || "Write a reason: the audit chain keeps it.";
    reason.focus();
  });

  setInterval(showFreshness, 1000);
  if (document.querySelector(".drawer")) document.querySelector(".drawer textarea")?.focus();
  loop();
})();
