// Draws each figure from the specification beside it. Nothing is fetched and nothing is evaluated:
// vega's interpreter walks the expressions, and the page's policy forbids the rest.
"use strict";
{
  const config = JSON.parse(document.getElementById("look").textContent);
  const drawn = [...document.querySelectorAll(".chart")].map((place) => {
    // legends have as many columns as there is room for
    const room = (key, value) =>
      key === "columns" && value.each ? Math.max(1, Math.floor((place.clientWidth - 70) / value.each)) : value;
    const spec = JSON.parse(place.nextElementSibling.textContent, room);
    spec.config = config;
    return vegaEmbed(place, spec, {
      actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
    });
  });
  Promise.allSettled(drawn).then((ends) => {
    const failed = ends.filter((end) => end.status === "rejected");
    failed.forEach((end) => console.error(end.reason));
    document.documentElement.dataset.drawn = `${ends.length - failed.length}/${ends.length}`;
  });
}
