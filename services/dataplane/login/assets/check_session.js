// Answers a client's question whether the browser's login is still the one that the client knows (OpenID Connect Session Management
// section 3.2). A message is "<client_id> <session_state>", the answer "unchanged", "changed" or "error".
(function () {
  "use strict";
  var name = document.body.dataset.cookie + "=";
  function state() {
    var found = document.cookie.split("; ").filter(function (c) { return c.indexOf(name) === 0; });
    return found.length === 1 ? found[0].slice(name.length) : "";
  }
  // Whether the browser shows this frame our cookies at all: where it does not, nothing can be told.
  function blocked() {
    if (state() !== "" || !document.hasStorageAccess) { return Promise.resolve(false); }
    return document.hasStorageAccess().then(function (has) { return !has; }, function () { return false; });
  }
  function hash(text) {
    return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)).then(function (sum) {
      var raw = String.fromCharCode.apply(null, new Uint8Array(sum));
      return btoa(raw).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
    });
  }
  addEventListener("message", function (event) {
    if (event.source === null || event.source === window) { return; }
    function answer(text) { event.source.postMessage(text, event.origin); }
    var parts = typeof event.data === "string" && event.data.length <= 4096 ? event.data.split(" ") : [];
    var dot = parts.length === 2 ? parts[1].indexOf(".") : -1;
    if (dot <= 0 || parts[0] === "" || event.origin === "null") {
      if (event.origin !== "null") { answer("error"); }
      return;
    }
    var salt = parts[1].slice(dot + 1), wanted = parts[1].slice(0, dot);
    blocked().then(function (yes) {
      if (yes) { return answer("error"); }
      var now = state();
      if (now === "") { return answer("changed"); }
      return hash(parts[0] + " " + event.origin + " " + now + " " + salt).then(function (got) {
        answer(got === wanted ? "unchanged" : "changed");
      });
    }).catch(function () { answer("error"); });
  });
})();
