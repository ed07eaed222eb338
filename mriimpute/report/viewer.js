// The viewer: NiiVue on the volumes of this page. Where it cannot run, the pictures stand alone.
"use strict";
(() => {
  const box = document.currentScript.closest(".viewer");
  const facts = JSON.parse(box.dataset.facts), levels = {};
  const find = (what) => box.querySelector(what);
  const [ni, nj, nk] = facts.shape, size = ni * nj * nk;

  // From base64 and gzip to bytes, without any request.
  const unpack = async (element) => {
    const text = atob(element.textContent), bytes = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  // Takes back what `_viewer.py` did: differences, then the volume that this one is relative to.
  const restore = async (element) => {
    const { name, reference, lags } = element.dataset, x = await unpack(element);
    for (const lag of lags.split(" ").filter(Boolean).map(Number))
      for (let n = lag; n < size; n++) x[n] += x[n - lag];
    const y = levels[reference];
    if (y) for (let n = 0; n < size; n++) x[n] += y[n];
    levels[name] = x;
  };
  // 1 at the margins of acquired slices: strokes beside planes that cross them, frames around them.
  const marks = () => {
    const x = new Uint8Array(size), acquired = new Set(facts.acquired);
    const within = facts.shape.map((length, axis) => Uint8Array.from({ length }, (_, n) =>
      axis !== facts.axis || acquired.has(n)));
    const edge = facts.shape.map((length, axis) => Uint8Array.from({ length }, (_, n) =>
      axis !== facts.axis && Math.min(n, length - 1 - n) < length / 120));
    for (let n = 0, k = 0; k < nk; k++)
      for (let j = 0; j < nj; j++)
        for (let i = 0; i < ni; i++, n++)
          x[n] = within[0][i] & within[1][j] & within[2][k] & (edge[0][i] | edge[1][j] | edge[2][k]);
    return x;
  };
  const volume = (name, x, colours, high) => {
    const [a, b, c] = facts.spacing, affine = [a, 0, 0, 0, 0, b, 0, 0, 0, 0, c, 0, 0, 0, 0, 1];
    const file = niivue.NVImage.createNiftiArray(facts.shape, facts.spacing, affine, 2, x);
    return niivue.NVImage.new(file.buffer, `${name}.nii`, colours, 1, null, 0, high);
  };

  const start = async () => {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("no WebGL 2");
    box.dataset.state = "loading";
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpack(find(".library")));
    document.head.append(script);
    for (const element of box.querySelectorAll(".volume")) await restore(element);
    for (const element of box.querySelectorAll("script")) element.remove();
    const nv = new niivue.Niivue({ crosshairColor: [0.35, 0.7, 1, 0.8], crosshairWidth: 0.6, crosshairWidthUnit: "mm",
      clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", dragAndDropEnabled: false,
      dragMode: 9, fontColor: [1, 1, 1, 1], isNearestInterpolation: true, loadingText: "",
      logLevel: "error", multiplanarShowRender: 0, sliceType: 3 });
    await nv.attachToCanvas(find("canvas"));
    nv.addVolume(await volume("shown", levels.mean, "gray", facts.white));
    if (facts.acquired.length) {
      nv.createEmptyDrawing();
      nv.drawBitmap.set(marks());
      nv.drawOpacity = 1;
      nv.refreshDrawing(false);
    }
    control(nv);
    box.dataset.state = "ready";
  };

  const control = (nv) => {
    const shown = nv.volumes[0], choices = [...box.querySelectorAll("[name=volume]")];
    const black = find(".black"), white = find(".white"), std = find(".std"), strength = find(".strength");
    const written = (value, span) => {
      const digits = Math.max(2 - Math.floor(Math.log10(span)), 0);
      return digits > 8 ? value.toExponential(3)  // m2/s of diffusion are 1e-9
        : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
    };
    const intensity = (level) => written(facts.low + level / 255 * (facts.high - facts.low),
      facts.high - facts.low);
    const spread = (level) => written(level / facts.stdLevels * facts.std, facts.std);
    const least = (level, top) => (level === top ? "at least " : "");

    const tell = () => {
      const at = nv.frac2vox(nv.scene.crosshairPos), n = at[0] + ni * (at[1] + nj * at[2]);
      const place = [...at].map((m, axis) => `${"ijk"[axis]} = ${facts.first[axis] + m * facts.steps[axis]}`);
      const texts = [`${place.join(", ")}: ${least(shown.img[n], 255)}${intensity(shown.img[n])}`];
      if (levels.std)
        texts.push(`standard deviation ${least(levels.std[n], facts.stdLevels)}${spread(levels.std[n])}`);
      if (facts.acquired.length) {
        const gap = Math.min(...facts.acquired.map((m) => Math.abs(m - at[facts.axis])));
        const mm = (gap * facts.spacing[facts.axis]).toFixed(1);
        texts.push(gap ? `${mm} mm from an acquired slice` : "on an acquired slice");
      }
      find(".place").textContent = texts.join("; ");
    };
    const redraw = () => {
      nv.refreshLayers(shown, 0);
      nv.drawScene();
    };
    const choose = (name) => {
      for (const choice of choices) choice.checked = choice.value === name;
      shown.img = levels[name];
      redraw();
      tell();
    };
    const narrow = (low, high) => {
      shown.cal_min = Math.min(low, high - 1);
      shown.cal_max = Math.max(high, low + 1);
      [black.value, white.value] = [shown.cal_min, shown.cal_max];
      find(".window").textContent = `${intensity(shown.cal_min)} to ${intensity(shown.cal_max)}`;
    };
    const overlay = async () => {
      if (std.checked && nv.volumes.length === 1) {
        const [R, G, B] = facts.colours, parts = R.map((_, n) => n / (R.length - 1));
        nv.addColormap("std", { R, G, B, A: parts.map((part) => Math.min(255, Math.round(510 * part))),
          I: parts.map((part) => Math.round(255 * part)) });
        nv.addVolume(await volume("std", levels.std, "std", facts.stdLevels));
      }
      if (nv.volumes.length > 1) nv.setOpacity(1, std.checked ? strength.value / 100 : 0);
    };

    let other = "mean";
    for (const choice of choices) choice.addEventListener("change", () => choose(choice.value));
    for (const slider of [black, white])
      slider.addEventListener("input", () => { narrow(Number(black.value), Number(white.value)); redraw(); });
    find(".reset").addEventListener("click", () => { narrow(0, facts.white); redraw(); });
    find("canvas").addEventListener("mouseup", () => narrow(shown.cal_min, shown.cal_max));
    if (facts.acquired.length)
      find(".marks").addEventListener("change", (event) => nv.setDrawOpacity(event.target.checked ? 1 : 0));
    if (std) for (const input of [std, strength]) input.addEventListener("change", overlay);
    document.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "f" || event.ctrlKey || event.metaKey || event.altKey || !levels.linear) return;
      const now = choices.find((choice) => choice.checked).value;
      if (now !== "linear") other = now;
      choose(now === "linear" ? other : "linear");
    });
    nv.onLocationChange = tell;
    choices.find((choice) => choice.value === "mean").checked = true;
    narrow(0, facts.white);
    nv.drawScene();
    tell();
  };

  addEventListener("load", () => setTimeout(() => start().catch((error) => {
    box.dataset.state = "absent";
    box.dataset.reason = String(error);
  })));
})();
