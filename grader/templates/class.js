// Sorts the table of marks by a click on a column's head, and filters it by name; without this script the page is whole.
const table = document.querySelector("table.marks"), body = table.tBodies[0], rows = [...body.rows];
const value = (row, column) => {
  const text = row.cells[column].textContent.trim(), number = parseFloat(text.replace("↷", ""));
  return column === 0 ? text.toLowerCase() : isNaN(number) ? -1 : number;
};
table.querySelectorAll("th[data-column]").forEach((head) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const column = +head.dataset.column, [first, second] = column ? ["descending", "ascending"] : ["ascending", "descending"];
    const order = head.getAttribute("aria-sort") === first ? second : first, sign = order === "ascending" ? 1 : -1;
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0));
    body.append(...keyed.map(([, row]) => row));
  });
});
const box = document.createElement("input"), label = document.createElement("label");
box.type = "search";
label.className = "filter";
label.append("Show ", box);
box.placeholder = "a name, or: ungraded, open";
box.addEventListener("input", () => {
  const wanted = box.value.toLowerCase();
  rows.forEach((row) => (row.hidden = !row.textContent.toLowerCase().includes(wanted)));
});
document.getElementById("marks").after(label);
