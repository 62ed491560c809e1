// SPDX-License-Identifier: MIT
// The chat page: events in, form posts out. Text is only ever put into the page as text, never as HTML.
"use strict";
const MESSAGES_MAX = 500;
const SEND_MS_MAX = 5000;
const list = document.getElementById("messages");
const empty = document.getElementById("empty");
const state = document.getElementById("state");
const form = document.getElementById("form");
const field = document.getElementById("message");

function show(text) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const words = document.createElement("span");
  time.textContent = new Date().toLocaleTimeString();
  words.textContent = text;
  item.append(time, words);
  list.append(item);
  if (list.children.length > MESSAGES_MAX) {
    list.firstElementChild.remove();
  }
  empty.hidden = true;
  item.scrollIntoView({ block: "nearest" });
}

function tell(text, kind) {
  state.textContent = text;
  state.className = kind;
}

const events = new EventSource("/chat/events");
events.onopen = () => tell("connected", "good");
events.onerror = () => tell("connection lost, trying again", "bad");
events.onmessage = (event) => show(event.data);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = field.value;
  try {
    const answer = await fetch("/chat", {
      method: "POST",
      body: new URLSearchParams({ message: text }),
      signal: AbortSignal.timeout(SEND_MS_MAX),
    });
    if (!answer.ok) {
      throw new Error(await answer.text());
    }
    field.value = "";
  } catch (error) {
    const why = error.name === "TimeoutError" ? "no answer. Is the chat open in many windows? " +
      "A browser has six connections to one site, and each window holds one" : error.message;
    tell("not sent: " + why, "bad");
  }
  field.focus();
});
