"use strict";
// Sorts and filters tables, shows what a point of a chart is, and opens everything before it is printed.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const key = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };

  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // what was not measured comes last, either way
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  };

  const sort = (head, table) => {
    const column = head.cellIndex;
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign)));
  };

  for (const table of all("table.sortable")) {
    for (const button of all("thead button", table)) {
      button.addEventListener("click", () => sort(button.closest("th"), table));
    }
  }

  const filter = (controls) => {
    const table = document.getElementById(controls.dataset.table);
    const rows = [...table.tBodies[0].rows];
    const text = controls.querySelector("input").value.trim().toLowerCase();
    const tag = controls.querySelector("select").value;
    for (const row of rows) {
      const tags = row.dataset.tags.split(" ");
      const seen = row.textContent.toLowerCase().includes(text) && (tag === "" || tags.includes(tag));
      row.hidden = !seen;
      if (row.id) for (const link of all(`.chart a[href="#${row.id}"]`)) link.classList.toggle("dim", !seen);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    controls.querySelector(".count").textContent = `${shown} of ${rows.length} ${controls.dataset.what}`;
  };

  for (const controls of all(".controls")) {
    controls.addEventListener("input", () => filter(controls));
    filter(controls);
  }

  for (const box of all(".scroll")) {
    const hint = box.previousElementSibling;
    const look = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      hint.style.display = hidden > 1 ? "block" : "none";
      box.classList.toggle("more", hidden - box.scrollLeft > 1);
    };
    box.addEventListener("scroll", look, { passive: true });
    new ResizeObserver(look).observe(box);
  }

  const tip = document.getElementById("tip");
  const show = (event) => {
    const mark = event.target.closest?.(".trade-off a")?.querySelector("[aria-label]");
    if (!mark) return hide();
    const box = mark.getBoundingClientRect();
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${scrollX + Math.max(8, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${scrollY + (above > 0 ? above : box.bottom + 8)}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const chart of all(".trade-off")) {
    for (const kind of ["mouseover", "focusin"]) chart.addEventListener(kind, show);
    for (const kind of ["mouseleave", "focusout"]) chart.addEventListener(kind, hide);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const item of closed) item.open = true;
  });
  addEventListener("afterprint", () => { for (const item of closed) item.open = false; });
})();
