// Flicker: two pictures in one place. Everything else on the page works without a script.
"use strict";
for (const box of document.querySelectorAll(".flicker")) {
  const find = (what) => box.querySelector(what);
  const button = find(".toggle"), auto = find(".auto"), shown = find(".shown");
  const side = { a: find(".choose-a"), b: find(".choose-b") };
  let after = false, timer = 0;

  const label = (name) => side[name].selectedOptions[0].textContent;
  const show = (value) => {
    after = value;
    box.classList.toggle("after", after);
    button.setAttribute("aria-pressed", String(after));
    shown.textContent = label(after ? "b" : "a");
  };
  const choose = (name) => {
    const pictures = side[name].value.split(" ");
    box.querySelectorAll(`.side-${name}`).forEach((plane, n) => {
      plane.querySelector("use").setAttribute("href", `#${pictures[n]}`);
      plane.setAttribute("aria-label", label(name));
    });
    show(name === "b");
  };

  box.classList.add("scripted");
  button.addEventListener("click", () => show(!after));
  side.a.addEventListener("change", () => choose("a"));
  side.b.addEventListener("change", () => choose("b"));
  auto.addEventListener("change", () => {
    clearInterval(timer);
    if (auto.checked) timer = setInterval(() => show(!after), 700);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("select, input, textarea");
    if (event.key.toLowerCase() === "f" && !typing && !event.ctrlKey && !event.metaKey &&
        !event.altKey) show(!after);
  });
}
