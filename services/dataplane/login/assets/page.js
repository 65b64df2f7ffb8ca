// Show and hide the password, and do not send a form twice. Everything works without this file.
(function () {
  "use strict";
  document.querySelectorAll("button.reveal").forEach(function (button) {
    var input = document.getElementById(button.getAttribute("aria-controls"));
    var data = button.dataset;
    function show(on) {
      input.type = on ? "text" : "password";
      button.textContent = on ? data.hide : data.show;
      button.setAttribute("aria-label", on ? data.hideLong : data.showLong);
    }
    show(false);
    button.hidden = false;
    button.addEventListener("click", function () {
      show(input.type === "password");
      input.focus();
    });
    // A password in a text field would be remembered as form history.
    input.form.addEventListener("submit", function () { show(false); });
  });
  document.querySelectorAll("form").forEach(function (form) {
    var sent = 0;
    form.addEventListener("submit", function (event) {
      var now = Date.now();
      if (now - sent < 5000) { event.preventDefault(); }
      else { sent = now; }
    });
    addEventListener("pageshow", function () { sent = 0; });
  });
  // All frames of a logout have loaded.
  var onward = document.querySelector("#onward a");
  if (onward) { addEventListener("load", function () { location.replace(onward.href); }); }
  if (document.getElementById("post")) { document.getElementById("post").submit(); }
})();
