// Live availability of the address. Without scripts it is checked on submit.
"use strict";
const label = document.getElementById("label");
const state = document.getElementById("label-state");
const company = document.getElementById("company");
let timer, asked = 0, typed = label.value !== "";

function check() {
  clearTimeout(timer);
  state.textContent = "";
  delete state.dataset.state;
  if (label.value.trim() === "") return;
  timer = setTimeout(async () => {
    const turn = ++asked;
    try {
      const answer = await (await fetch("/availability?label=" + encodeURIComponent(label.value.trim()))).json();
      if (turn !== asked) return; // a later question is on its way
      state.dataset.state = answer.state;
      state.textContent = answer.text;
    } catch {
      state.textContent = ""; // the submit will tell
    }
  }, 250);
}

label.addEventListener("input", () => { typed = true; check(); });
company.addEventListener("input", () => {
  if (typed) return;
  label.value = company.value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
  check();
});
