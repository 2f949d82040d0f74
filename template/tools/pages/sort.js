"use strict";
// A click on a heading sorts by it, another one the other way round; what is missing stays last.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const place = heading.cellIndex;
    const first = heading.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentElement.cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const body = heading.closest("table").tBodies[0];
    const key = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const sign = order === "ascending" ? 1 : -1;
    const rows = Array.from(body.rows, (row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const numbers = a - b;
      return sign * (Number.isNaN(numbers) ? a.localeCompare(b) : numbers);
    });
    body.append(...rows.map(([, row]) => row));
  });
}
