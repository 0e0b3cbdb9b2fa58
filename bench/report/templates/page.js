"use strict";
// Sorting, filtering and, where a server gives the page, its news. Without this script the page
// is whole. Nothing here makes HTML of text.
(() => {
  const state = { sort: {}, filter: {} };
  const at = (root, query) => [...root.querySelectorAll(query)];

  // Sorting: the rows of each part of a table, references last, what has no value after the rest.
  const value = (row, column) => {
    const cell = row.cells[column];
    if ("value" in cell.dataset) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : typeof a === typeof b
        ? String(a).localeCompare(String(b), "en", { numeric: true })
        : typeof a === "number" ? -1 : 1;

  const tableKey = (table) => table.className;
  const arrange = (table) => {
    const wanted = state.sort[tableKey(table)];
    at(table, "thead th").forEach((head, column) => {
      if (wanted && wanted.column === column) head.setAttribute("aria-sort", wanted.order);
      else head.removeAttribute("aria-sort");
    });
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.matches(".group, .reference"));
      rows.forEach((row, place) => (row.dataset.place ??= String(place)));
      const sign = wanted && wanted.order === "descending" ? -1 : 1;
      const keyed = rows.map((row) => [row, wanted ? value(row, wanted.column) : null]);
      keyed.sort(([a, x], [b, y]) => {
        const order =
          x === null && y === null ? 0 : x === null ? 1 : y === null ? -1
            : typeof x === typeof y ? sign * compare(x, y) : compare(x, y);
        return order || a.dataset.place - b.dataset.place;
      });
      const references = [...body.rows].filter((row) => row.matches(".reference"));
      body.append(...keyed.map(([row]) => row), ...references);
    }
  };

  const sortable = (table) => {
    at(table, "thead th").forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
    });
  };

  const turn = (button) => {
    const head = button.closest("th");
    const table = button.closest("table");
    const key = tableKey(table);
    const before = state.sort[key];
    if (!before || before.column !== head.cellIndex)
      state.sort[key] = { column: head.cellIndex, order: "ascending" };
    else if (before.order === "ascending")
      state.sort[key] = { column: head.cellIndex, order: "descending" };
    else delete state.sort[key];
    arrange(table);
    const now = state.sort[key];
    const form = table.closest("section").querySelector("form.filter [role=status]");
    if (form) form.textContent = now
      ? `Sorted by ${button.textContent}, ${now.order}.`
      : "In the original order.";
  };

  // Filtering. A form's own `dataset` is hidden by its field of that name.
  const placeOf = (form) => form.getAttribute("data-of");
  const rowsOf = (form) => {
    const section = document.getElementById(placeOf(form));
    return placeOf(form) === "runs"
      ? at(section, "table.runs tbody tr, details.run")
      : at(section, "table.bench tbody tr:not(.group, .reference)");
  };
  const nameOf = (row) =>
    (row.matches("details.run") ? row.querySelector(".name") : row.cells[0]).textContent;

  const sift = (form) => {
    const asked = Object.fromEntries(new FormData(form));
    state.filter[form.id] = asked;
    const text = (asked.text || "").trim().toLowerCase();
    let shown = 0;
    let all = 0;
    for (const row of rowsOf(form)) {
      const dataset = row.dataset.dataset ?? row.parentElement.dataset.group;
      const fits =
        (!text || nameOf(row).toLowerCase().includes(text)) &&
        (!asked.dataset || dataset === asked.dataset) &&
        (!asked.status || row.dataset.status === asked.status);
      row.hidden = !fits;
      if (!row.matches("details")) {
        all += 1;
        shown += fits;
      }
    }
    if (placeOf(form) === "comparison")
      for (const body of document.querySelectorAll("#comparison table.bench tbody"))
        body.hidden = ![...body.rows].some((row) => !row.matches(".group, .reference") && !row.hidden);
    form.querySelector("[role=status]").textContent =
      text || asked.dataset || asked.status ? `${shown} of ${all} rows` : "";
  };

  // A link to a run opens it.
  const open = () => {
    const found = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (found && found.matches("details")) {
      found.open = true;
      found.scrollIntoView();
    }
  };

  const prepare = () => {
    at(document, "table.bench, table.runs").forEach((table) => {
      sortable(table);
      if (state.sort[tableKey(table)]) arrange(table);
    });
    at(document, "form.filter").forEach((form) => {
      form.hidden = false;
      const asked = state.filter[form.id];
      if (!asked) return;
      for (const [name, wanted] of Object.entries(asked)) {
        const field = form.elements[name];
        if (field.tagName !== "SELECT" || [...field.options].some((o) => o.value === wanted))
          field.value = wanted;
      }
      sift(form);
    });
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("thead th button");
    if (button) turn(button);
  });
  let waiting = 0;
  const asked = (event) => {
    const form = event.target.closest("form.filter");
    if (!form) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => sift(form), 60);
  };
  // Not every browser tells of a choice in a list by the first of these.
  for (const kind of ["input", "change"]) document.addEventListener(kind, asked);
  document.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", open);
  prepare();
  open();

  // News from the server: what is new takes its place, and all else stays as it was.
  if (!("watched" in document.body.dataset)) return;
  const news = document.getElementById("news");
  const parse = (text) => new DOMParser().parseFromString(text, "text/html");
  let known = null;

  const renew = async () => {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = parse(await answer.text());
    const opened = new Set(at(document, "details[open][id]").map((each) => each.id));
    const seen = new Set(at(document, "details[id]").map((each) => each.id));
    const active = document.activeElement;
    const form = active && active.closest("form.filter");
    const focus = form ? [form.id, active.name, active.selectionStart] : active && active.id;
    const height = scrollY;
    document.querySelector("header.top").replaceWith(fresh.querySelector("header.top"));
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    for (const each of at(document, "details[id]"))
      if (seen.has(each.id)) each.open = opened.has(each.id);
    prepare();
    if (Array.isArray(focus)) {
      const field = document.getElementById(focus[0]).elements[focus[1]];
      field.focus({ preventScroll: true });
      if (typeof focus[2] === "number") field.setSelectionRange(focus[2], focus[2]);
    } else if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    scrollTo(scrollX, height);
  };

  const ask = async () => {
    try {
      const answer = await fetch("/news.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const now = await answer.json();
      if (known !== null && now.page !== known) await renew();
      known = now.page;
      const list = parse(now.in_progress).body.childNodes;
      document.getElementById("in-progress").replaceChildren(...list);
      news.textContent = now.message;
      news.classList.toggle("bad", now.bad);
    } catch {
      news.textContent = "bench watch has ended or can't be reached; this is its last page.";
      news.classList.add("bad");
    }
    setTimeout(ask, 2000);
  };
  ask();
})();
