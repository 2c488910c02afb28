// Keys and touches over the views: what a mouse with a wheel does, for those who have none.
"use strict";

(() => {
  const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  const ACTIONS = new Set(["Home", "End", "+", "=", "-", "f", "c", "w", "v", "m", "s", "d", "t", "?", "1", "2", "3", "4", "5"]);
  const TOUCH_STEP = 9; // pixels of a finger per slice
  const TYPING = "input, textarea, select, [contenteditable], [role=listbox], [role=menu], [role=dialog]";
  const SLIDER = new Set([...Object.keys(STEPS), "Home", "End"]);
  let over = "Red";
  let inside = false; // whether the pointer is in a view
  let steps = 0;
  let busy = false;

  const viewOf = (target) => target?.closest?.("[data-view]");
  const isSlice = (view) => view?.dataset.slice === "yes";

  function ask(name, given) {
    return window.trame ? window.trame.trigger(name, given) : Promise.resolve();
  }

  // what comes while the server is busy is added up, so that a held key never runs after its release
  function step(view, count) {
    steps += count;
    if (!busy && steps) {
      busy = true;
      const now = steps;
      steps = 0;
      ask("hlfd_step", [view, now]).finally(() => {
        busy = false;
        step(view, 0);
      });
    }
  }

  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const view = viewOf(event.target);
      over = view?.dataset.view ?? over;
      inside = kind === "pointerover" ? Boolean(view) : inside;
    });
  }

  document.addEventListener(
    "keydown",
    (event) => {
      const view = viewOf(event.target);
      const free = view || inside || event.target === document.body;
      const taken = event.target.closest?.(TYPING) || (event.target.closest?.("[role=slider]") && SLIDER.has(event.key));
      if (!free || taken || event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") {
        return;
      }
      const tag = view?.dataset.view ?? over;
      if (event.key in STEPS) {
        step(tag, STEPS[event.key]);
        event.preventDefault();
      } else if (ACTIONS.has(event.key)) {
        ask("hlfd_key", [event.key, tag]);
        event.preventDefault();
      }
      event.stopPropagation(); // single keys mean other things to the views of the server
    },
    true,
  );
  document.addEventListener("keypress", (event) => viewOf(event.target) && event.stopPropagation(), true);

  // a button that opens the choice of files of a hidden input, and one that stops an upload
  document.addEventListener("click", (event) => {
    const choose = event.target.closest?.("[data-hlfd-choose]");
    const cancel = event.target.closest?.("[data-hlfd-cancel]");
    if (choose) {
      document.getElementById(choose.dataset.hlfdChoose)?.click();
    } else if (cancel) {
      window.hlfd?.cancelUpload(cancel.dataset.hlfdCancel);
    }
  });

  // one finger scrolls through the slices, two zoom
  const fingers = new Map();
  let gap = 0;

  function distance() {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  }

  function touches(event) {
    const view = viewOf(event.target);
    const looks = window.trame?.state?.get("view_mouse") === "look";
    return event.pointerType === "touch" && looks && isSlice(view) && !event.target.closest("button, .v-slider") && view;
  }

  document.addEventListener(
    "pointerdown",
    (event) => {
      if (touches(event)) {
        fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
        gap = fingers.size === 2 ? distance() : 0;
        event.stopPropagation();
      }
    },
    true,
  );
  document.addEventListener(
    "pointermove",
    (event) => {
      const finger = fingers.get(event.pointerId);
      const view = finger && viewOf(event.target);
      if (!finger) {
        return;
      }
      event.stopPropagation();
      if (fingers.size === 2) {
        Object.assign(finger, { x: event.clientX, y: event.clientY });
        const now = distance();
        if (view && gap && Math.abs(now / gap - 1) > 0.05) {
          ask("hlfd_zoom", [view.dataset.view, now / gap]);
          gap = now;
        }
        return;
      }
      const count = Math.trunc((finger.y - event.clientY) / TOUCH_STEP);
      if (view && count) {
        step(view.dataset.view, count);
        finger.y = event.clientY;
      }
    },
    true,
  );
  for (const kind of ["pointerup", "pointercancel"]) {
    document.addEventListener(kind, (event) => fingers.delete(event.pointerId), true);
  }
})();
