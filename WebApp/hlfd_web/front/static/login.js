// Logs in with the token behind the # of the address, or with the one that is typed.
"use strict";

async function login(token) {
  const answer = await fetch("/login", { method: "POST", body: token });
  if (answer.ok) {
    location.replace("/");
    return;
  }
  document.getElementById("message").textContent =
    answer.status === 403 ? "This is not the token of this server." : "The server did not take the token.";
  document.getElementById("token").select();
}

async function start() {
  // A link on another site leads here without cookies; a page of this site has them.
  const state = await (await fetch("/login")).json();
  const given = /[#&/?]token=([^&]+)/.exec(location.hash);
  history.replaceState(null, "", "/");
  if (state.logged_in) {
    location.replace("/");
  } else if (given) {
    login(decodeURIComponent(given[1]));
  }
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  login(document.getElementById("token").value);
});
document.getElementById("token").focus();
start();
