// Put into the page of every session: says when the connection is lost and takes it up again, uploads files, and tells
// the server when the page is closed.
"use strict";

(() => {
  const NativeSocket = window.WebSocket;
  let leaving = false;
  let lost = null;

  // ---- connection -------------------------------------------------------------------------------------------------
  class WatchedSocket extends NativeSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("close", () => leaving || say("Connection lost", "Trying to connect again..."));
    }
  }
  window.WebSocket = WatchedSocket;

  function say(title, text, action) {
    if (!lost) {
      lost = document.createElement("div");
      lost.id = "hlfd-lost";
      lost.dataset.testid = "connection-lost";
      lost.setAttribute("role", "alertdialog");
      lost.setAttribute("aria-modal", "true");
      lost.setAttribute("aria-labelledby", "hlfd-lost-title");
      lost.innerHTML = '<div><h2 id="hlfd-lost-title"></h2><p aria-live="polite"></p></div>';
      document.body.append(lost);
      setTimeout(look, 500);
    }
    lost.querySelector("h2").textContent = title;
    lost.querySelector("p").textContent = text;
    lost.querySelector("button")?.remove();
    if (action) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.testid = "start-again";
      button.textContent = action;
      button.addEventListener("click", () => open("/"));
      lost.firstElementChild.append(button);
      button.focus();
    }
  }

  function open(address) {
    leaving = true;
    location.replace(address);
  }

  async function look() {
    let answer;
    try {
      const response = await fetch("/session/state", { cache: "no-store" });
      if (response.status === 401) {
        say("This session has ended", "The server was started again and asks for its new token.", "Log in");
        return;
      }
      answer = await response.json();
    } catch {
      say("Connection lost", "The server does not answer; trying again...");
      setTimeout(look, 2000);
      return;
    }
    if (answer.state === "ready") {
      open("/"); // the session still has its scene and shows it again
    } else if (answer.state === "starting" || answer.state === "stopped") {
      setTimeout(look, 1000);
    } else {
      say("This session has ended", answer.message, "Start again");
    }
  }

  window.addEventListener("pagehide", () => {
    if (!leaving) {
      leaving = true;
      fetch("/session/leave", { method: "POST", keepalive: true }).catch(() => {});
    }
  });
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());

  // ---- uploads ----------------------------------------------------------------------------------------------------
  const running = new Map();

  function tell(name, value) {
    window.trame?.state?.set(name, value);
  }

  function send(file, address, onPercent) {
    const request = new XMLHttpRequest();
    const done = new Promise((resolve, reject) => {
      request.upload.addEventListener("progress", (event) => onPercent(event.loaded));
      request.addEventListener("load", () => {
        let answer = {};
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          answer = { message: "The server refused the file." };
        }
        request.status === 200 ? resolve(answer) : reject(new Error(answer.message));
      });
      request.addEventListener("error", () => reject(new Error("The connection broke off. Try again.")));
      request.addEventListener("abort", () => reject(new Error("Cancelled.")));
    });
    request.open("POST", address);
    request.send(file);
    return { request, done };
  }

  function newBatch() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function upload(name, purpose, files) {
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    const batch = files.length > 1 ? newBatch() : "";
    const title = files.length > 1 ? `${files.length} files` : files[0].name;
    let before = 0;
    let told = 0;
    let answer = {};
    let refused = null;
    const show = (loaded) => {
      const now = Date.now();
      if (now - told > 200) {
        told = now;
        tell(name, { state: "running", name: title, percent: Math.min(99, Math.floor((100 * (before + loaded)) / total)) });
      }
    };
    show(0);
    try {
      for (const file of files) {
        if (running.get(name)?.cancelled) {
          throw new Error("Cancelled.");
        }
        const asked = new URLSearchParams({ name: file.name, purpose, batch });
        const { request, done } = send(file, `/files/upload?${asked}`, show);
        running.set(name, { request, cancelled: false });
        try {
          answer = await done;
        } catch (error) {
          if (!batch || request.status !== 422) {
            throw error;
          }
          refused = error; // a folder of slices holds other files too, which are left out
        }
        before += file.size;
      }
      if (batch) {
        answer = await finish(batch, "", refused);
      }
      tell(name, { state: "done", name: answer.name, path: answer.path });
    } catch (error) {
      tell(name, { state: "failed", name: title, message: error.message });
      if (batch) {
        finish(batch, "1").catch(() => {});
      }
    } finally {
      running.delete(name);
    }
  }

  async function finish(batch, discard, refused) {
    const response = await fetch(`/files/finish?${new URLSearchParams({ batch, discard })}`, { method: "POST" });
    const answer = await response.json();
    if (!response.ok) {
      throw refused ?? new Error(answer.message);
    }
    return answer;
  }

  document.addEventListener("change", (event) => {
    const input = event.target.closest?.("input[type=file][data-hlfd-upload]") ?? event.target;
    const name = input.dataset?.hlfdUpload;
    if (name && input.files?.length && !running.has(name)) {
      running.set(name, { cancelled: false });
      upload(name, input.dataset.hlfdPurpose || "image", Array.from(input.files)).then(() => (input.value = ""));
    }
  });

  window.hlfd = {
    cancelUpload(name) {
      const task = running.get(name);
      if (task) {
        task.cancelled = true;
        task.request?.abort();
      }
    },
    upload,
  };
})();
