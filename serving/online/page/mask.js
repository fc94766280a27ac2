// A map of labels on a canvas: which class is where, one class brought forward, classes left out.

const MOST_PIXELS = 4_000_000; // drawn; larger maps are thinned out for the screen, what is saved is whole
const DIMMED = 168; // of 255, over what is not the class brought forward

export class LabelMap {
  // `picture`: a decoded image of the labels' colours; `shares`: as the server lists classes.
  constructor(canvas, picture, shares) {
    this.canvas = canvas;
    this.shares = shares;
    const step = Math.max(1, Math.sqrt((picture.naturalWidth * picture.naturalHeight) / MOST_PIXELS));
    canvas.width = Math.max(1, Math.round(picture.naturalWidth / step));
    canvas.height = Math.max(1, Math.round(picture.naturalHeight / step));
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.imageSmoothingEnabled = false; // colours between two classes would be classes of their own
    this.context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    this.labels = this.#read();
    this.draw({ opacity: 0.5, only: -1, flat: false });
  }

  #read() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const known = new Map();
    this.shares.forEach(({ colour: [red, green, blue] }, index) => {
      const number = (red << 16) | (green << 8) | blue;
      if (!known.has(number)) known.set(number, index);
    });
    const labels = new Uint8Array(data.length / 4);
    for (let pixel = 0, place = 0; pixel < labels.length; pixel += 1, place += 4) {
      labels[pixel] = known.get((data[place] << 16) | (data[place + 1] << 8) | data[place + 2]) ?? 255;
    }
    return labels;
  }

  // `flat`: the colours alone, black too. Over an image black classes (sea, background) leave it as it is.
  draw({ opacity, only, flat }) {
    const picture = this.context.createImageData(this.canvas.width, this.canvas.height);
    const words = new Uint32Array(picture.data.buffer);
    const table = new Uint32Array(256);
    this.shares.forEach(({ colour: [red, green, blue] }, index) => {
      const alpha = flat ? 255 : red || green || blue ? Math.round(255 * opacity) : 0;
      const shown = only < 0 || only === index;
      table[index] = shown ? word(red, green, blue, alpha) : word(0, 0, 0, flat ? 235 : DIMMED);
    });
    for (let pixel = 0; pixel < words.length; pixel += 1) words[pixel] = table[this.labels[pixel]];
    this.context.putImageData(picture, 0, 0);
  }

  // The class under a pointer, -1 outside.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height);
    if (x < 0 || y < 0 || x >= this.canvas.width || y >= this.canvas.height) return -1;
    const label = this.labels[y * this.canvas.width + x];
    return label < this.shares.length ? label : -1;
  }
}

// Bytes in the order of a canvas, as a number of this machine (all that run browsers are little-endian).
function word(red, green, blue, alpha) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
