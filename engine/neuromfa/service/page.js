// Follows the jobs while one waits or runs. Without this script the page shows what was when it was opened.
"use strict";
const SECONDS = 2;
const jobs = document.getElementById("jobs");

async function follow() {
  if (document.hidden || !Number(jobs.dataset.active)) return;
  const answer = await fetch("/", { credentials: "same-origin" });
  if (!answer.ok) return;
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = now.getElementById("jobs");
  if (!found) return location.reload();
  const status = document.getElementById("status");
  const words = now.getElementById("status").textContent;
  if (status.textContent !== words) status.textContent = words;
  if (found.innerHTML === jobs.dataset.seen) return;
  jobs.dataset.seen = found.innerHTML;
  const open = [...jobs.querySelectorAll("tr")].filter((row) => row.querySelector("details[open]")).map((row) => row.dataset.id);
  const focused = document.activeElement?.id;
  jobs.dataset.active = found.dataset.active;
  jobs.replaceChildren(...found.childNodes);
  for (const row of jobs.querySelectorAll("tr")) {
    if (row.dataset.id && open.includes(row.dataset.id)) row.querySelector("details").open = true;
  }
  if (focused) document.getElementById(focused)?.focus();
}

if (jobs) setInterval(() => follow().catch(() => {}), SECONDS * 1000);
