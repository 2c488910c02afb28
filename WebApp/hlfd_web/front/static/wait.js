// Asks how the session is until it can be opened.
"use strict";

const message = document.getElementById("message");
const again = document.getElementById("again");

function stop(text) {
  message.textContent = text;
  document.getElementById("spinner").hidden = true;
  again.hidden = false;
  again.focus();
}

async function look() {
  let answer;
  try {
    const response = await fetch("/session/state");
    if (response.status === 401) {
      location.replace("/");
      return;
    }
    answer = await response.json();
  } catch {
    message.textContent = "The server does not answer; trying again...";
    setTimeout(look, 2000);
    return;
  }
  if (answer.state === "ready" || answer.state === "none") {
    location.replace("/");
  } else if (answer.state === "starting" || answer.state === "stopped") {
    setTimeout(look, 250);
  } else if (answer.state === "full") {
    message.textContent = answer.message;
    again.hidden = false;
    setTimeout(look, 5000);
  } else {
    stop(answer.message);
  }
}

again.addEventListener("click", () => location.replace("/"));
look();
