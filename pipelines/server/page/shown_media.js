/** The picture or recording on the page with its tokens over it. */

import { pictureCells, soundCells } from "./cells.js";
import { CodeView } from "./code_view.js";
import { drawSpectrogram, logMel } from "./spectrogram.js";

const TALLEST_PX = 420;
const SMALL_PX = 128; // below this a picture is shown with its pixels visible
const PX_A_SECOND = 90; // of a recording, at least
const WIDEST_PX = 8000;
const DECODE_HZ = 16000;

const $ = (id) => document.getElementById(id);

export class ShownMedia {
  constructor() {
    this.grid = new CodeView($("grid"), $("readout"));
    this.units = new CodeView($("units"), $("readout"));
    this.units.setStrength(1);
    const player = $("player");
    player.addEventListener("timeupdate", () => {
      $("needle").hidden = false;
      $("needle").style.left = `${(100 * player.currentTime) / player.duration}%`;
    });
  }

  /** Show the file at once; its tokens follow with `showTokens`. */
  async show(media) {
    this.clear();
    this.media = media;
    $("media-name").textContent = media.name;
    this.#say("Reading its tokens …");
    $("shown").hidden = false;
    document.body.classList.add("has-media");
    if (media.kind === "image") await this.#showPicture(media);
    else await this.#showSound(media);
  }

  /** @param {object} item the one item of `POST /v1/tokenize` @param {number[]} ids of the row */
  showTokens(item, ids, numCodes) {
    if (item.modality === "image") {
      const [rows, columns] = item.grid;
      const aspect = $("image").naturalWidth / $("image").naturalHeight || columns / rows;
      this.grid.show(pictureCells(item, aspect), columns, numCodes);
      $("view").hidden = false;
      this.#say(`${rows} × ${columns} codes, ${ids.length} tokens in all`);
    } else {
      const cells = soundCells(item);
      this.units.show(cells, cells.length, numCodes);
      const rate = `${item.frame_rate_hz} a second`;
      this.#say(`${item.codes.length} units in ${item.duration_s.toFixed(1)} s, ${rate}`);
    }
    this.ids = ids;
    $("ids").textContent = ids.join(" ");
    $("ids-fold").hidden = false;
  }

  /**
   * Show the picture, its codes, both, or what can be drawn from the codes alone.
   *
   * @param {"picture" | "both" | "codes" | "rebuilt"} view
   * @param {Blob | null} rebuilt for the last of them
   */
  showAs(view, rebuilt = null) {
    this.grid.setStrength({ picture: 0, both: 0.5, codes: 1, rebuilt: 0 }[view]);
    URL.revokeObjectURL(this.rebuiltUrl);
    this.rebuiltUrl = rebuilt ? URL.createObjectURL(rebuilt) : undefined;
    $("rebuilt").hidden = !rebuilt;
    if (rebuilt) $("rebuilt").src = this.rebuiltUrl;
  }

  /** There are no tokens. */
  fail() {
    this.#say("No tokens.");
  }

  clear() {
    if (this.media) URL.revokeObjectURL(this.media.url);
    this.media = null;
    this.grid.show([], 1, 1);
    this.units.show([], 1, 1);
    $("player").removeAttribute("src");
    $("image").removeAttribute("src");
    this.showAs("both");
    $("both").checked = true;
    for (const id of ["shown", "picture", "sound", "view", "ids-fold", "needle"]) $(id).hidden = true;
    document.body.classList.remove("has-media");
  }

  async #showPicture({ url, name }) {
    const image = $("image");
    image.src = url;
    image.alt = name;
    await image.decode().catch(() => {}); // a format that only the server reads
    const [width, height] = [image.naturalWidth || 4, image.naturalHeight || 3];
    image.classList.toggle("small", Math.max(width, height) < SMALL_PX);
    const box = $("picture");
    box.style.aspectRatio = `${width} / ${height}`;
    box.style.maxWidth = `${Math.max((TALLEST_PX * width) / height, 64)}px`;
    box.hidden = false;
  }

  async #showSound({ url, bytes }) {
    $("player").src = url;
    $("sound").hidden = false;
    const sound = await decode(bytes);
    $("spectrogram").hidden = !sound;
    if (!sound) return;
    $("track").style.width = `min(${WIDEST_PX}px, ${Math.round(PX_A_SECOND * sound.duration)}px)`;
    const columns = Math.min(4 * $("track").clientWidth, 2000, Math.ceil(sound.length / 64));
    drawSpectrogram($("spectrogram"), logMel(sound.getChannelData(0), DECODE_HZ, Math.max(columns, 2)));
  }

  #say(text) {
    $("readout").dataset.rest = text;
    $("readout").textContent = text;
  }
}

async function decode(bytes) {
  try {
    return await new OfflineAudioContext(1, 1, DECODE_HZ).decodeAudioData(bytes.slice(0));
  } catch {
    return null; // a format that only the server reads
  }
}
