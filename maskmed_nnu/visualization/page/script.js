// Slices are a strip to swipe through; with this they are one picture with a slider.
for (const pager of document.querySelectorAll(".pager")) {
  const slices = [...pager.querySelectorAll("figure")];
  const slider = document.createElement("input");
  slider.type = "range";
  slider.max = slices.length - 1;
  slider.value = Math.floor(slices.length / 2);
  slider.setAttribute("aria-label", pager.dataset.label);
  const show = () => slices.forEach((slice, index) => { slice.hidden = index !== Number(slider.value); });
  slider.addEventListener("input", show);
  pager.append(slider);
  pager.classList.add("live");
  show();
}
