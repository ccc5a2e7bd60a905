// Draws each figure from the specification beside it. Nothing is fetched and nothing is evaluated:
// vega's interpreter walks the expressions, and the page's policy forbids the rest.
"use strict";
(async () => {
  const config = JSON.parse(document.getElementById("look").textContent);
  const places = [...document.querySelectorAll(".chart")];
  let drawn = 0;
  for (const place of places) { // one by one, so that the first are there at once
    // legends have as many columns as there is room for
    const room = (key, value) =>
      key === "columns" && value.each ? Math.max(1, Math.floor((place.clientWidth - 70) / value.each)) : value;
    const spec = JSON.parse(place.nextElementSibling.textContent, room);
    spec.config = config;
    try {
      await vegaEmbed(place, spec, {
        actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
      });
      drawn += 1;
    } catch (error) {
      console.error(error);
    }
    await new Promise((next) => setTimeout(next));
  }
  document.documentElement.dataset.drawn = `${drawn}/${places.length}`;
})();
