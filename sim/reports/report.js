"use strict";
// Sorts the rows of a table by the column whose head is pressed: upwards, then downwards. What is missing comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, place) => {
    const cell = row.cells[place];
    return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent.trim();
  };
  const missing = (value, numbers) => value === "" || value === "-" || (numbers && typeof value !== "number");
  heads.forEach((head, place) => {
    const numbers = head.classList.contains("number");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const order = (one, other) => {
        const [a, b] = [key(one, place), key(other, place)];
        const last = missing(a, numbers) - missing(b, numbers);
        if (last !== 0) return last;
        const apart = numbers && typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
        return down ? -apart : apart;
      };
      body.append(...[...body.rows].sort(order));
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
