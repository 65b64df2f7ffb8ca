// Live messages and sending without a reload. Without scripts the form posts.
"use strict";
const list = document.getElementById("messages");
const form = document.getElementById("say");
const path = "/rooms/" + list.dataset.room;
list.scrollTop = list.scrollHeight;

function line(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

let lost = false;
const events = new EventSource(path + "/events");
events.onerror = () => { lost = true; };
events.onopen = () => { if (lost) location.reload(); }; // what was said meanwhile
events.onmessage = (event) => {
  const message = JSON.parse(event.data);
  list.querySelector(".empty")?.remove();
  const item = line("li", message.own ? "own" : "", "");
  const head = document.createElement("p");
  head.append(line("strong", "", message.from), " ", line("time", "", message.time));
  item.append(head, line("p", "text", message.text));
  list.append(item);
  list.scrollTop = list.scrollHeight;
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = form.elements.text;
  if (field.value.trim() === "") return;
  const body = new URLSearchParams({ text: field.value });
  const answer = await fetch(path, { method: "POST", headers: { Accept: "application/json" }, body });
  if (answer.status === 204) { field.value = ""; field.focus(); } else { form.submit(); }
});
