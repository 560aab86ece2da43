/*
 * libattn: multi-head self-attention on live streams of feature vectors, one layer of it or a whole encoder.
 *
 * Copyright (C) 2026 the gst-attention authors
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * This is the manual. attn_sdpa.h beside it has the plain operator, attention over tensors.
 *
 *
 * Words
 * -----
 *   frame     one feature vector: D float32 values (D = n_features).
 *   stream    a sequence of frames, numbered from 0 on.
 *   window    the number of frames that a frame attends to, itself included.
 *   look-ahead  the number of later frames that it attends to as well. Each of them delays the output by one frame.
 *   chunk     in place of a window: frames in a row that attend to each other and to the chunks before them. Their
 *             outputs are ready together.
 *   sinks     the first frames of the stream, which stay attended to for ever.
 *   head      one of n_heads attentions that run side by side; each has a query of dk values per frame.
 *   score     query . key times scale. weight: softmax of the scores. context: the weighted mean of the values.
 *   row       the weights of all heads for one frame: what that frame attends to. An attention has a row per frame.
 *   model     a file of trained parameters (the projections to query, key and value, and the output projection).
 *   layer     a checked configuration together with packed parameters. It never changes.
 *   encoder   a layer of many blocks (norms, linear layers, attentions ...), as a file lists them.
 *   stream object  the window of one stream, over a layer.
 *
 *
 * What is computed
 * ----------------
 * For frame t and head h, which uses the key/value head k = h / (n_heads / n_kv_heads):
 *
 *   query = Wq[h] x_t + bq[h]      key_j = Wk[k] x_j + bk[k]      value_j = Wv[k] x_j + bv[k]
 *   J     = { j : t - window < j <= t + look_ahead } and { j : j < n_sinks, j <= t }, each frame once,
 *           only frames that exist and are not absent
 *   w_j   = exp (scale query . key_j) / sum over J of the same      (Vaswani et al. 2017, equation 1)
 *             with softcap c: c tanh (scale query . key_j / c) in the place of scale query . key_j
 *   context[h] = gain[h] sum over J of w_j value_j;      0 when J is empty
 *   out_t = Wo concat (context[0] ... context[n_heads - 1]) + bo
 *
 * With chunk c and chunks n, frame t attends to its own chunk and to the n chunks before it:
 *
 *   J     = { j : (floor (t / c) - n) c <= j < (floor (t / c) + 1) c } and the sinks, as above
 *
 * So all outputs of a chunk are ready with its last frame, and chunks of one length in many layers wait no longer than
 * those of one layer. Chunks begin at frame numbers that are multiples of c, wherever the stream begins.
 *
 * A position (AttnPosition) changes the scores. The change depends on the distance between j and t alone:
 *
 *   RoPE      query and key_j are rotated before their product, pair i of their values by t theta_i and j theta_i,
 *             theta_i = rope_base^(-2i/n), i < n/2, n = rope_dimensions: (x, y) becomes (x cos - y sin, x sin + y cos)
 *   ALiBi     - slope[h] |t - j| is added; slope[h] = 2^(-8 (h + 1) / n_heads) where n_heads is a power of two, else as
 *             in the paper's code
 *   relative  relative_bias[h][j - t + window - 1] is added; 0 for a sink that the window has left behind. Not with
 *             chunks
 *
 *   Transformer-XL  scale ((query + u) . key_j + (query + v) . (P r_(t - j))) takes the place of scale query . key_j,
 *             under the softcap, too (Dai et al. 2019). r_d are sin and cos, interleaved, of d 10000^(-2i/D), i < D/2,
 *             d < 0 for later frames; P, u, v are `linear_pos.weight`, `pos_bias_u` and `pos_bias_v` of the model
 *
 * With qk_norm, each head's query and key are normalised over their dk values, before the position and the scale. One
 * weight w, and one bias b if there is one, holds for the queries of all heads, and another one for the keys (Henry et
 * al. 2020, and the models that have `q_norm`):
 *
 *   layer     x becomes (x - mean) / sqrt (variance + qk_norm_eps) w + b
 *   rms       x becomes x / sqrt (mean of squares + qk_norm_eps) w
 *
 * A sink counts at its true distance. Frame numbers are exact: outputs at frame 10^15 are as accurate as at frame 0.
 *
 * The window is never padded: at the start and at the end of a stream it is shorter. Without a model the projections
 * are the identity: head h takes its own slice of the frame as query, key and value, and out_t is the concatenation.
 * gain is 1 until attn_stream_set_gain () says otherwise.
 *
 *
 * Bits
 * ----
 * The output depends on the frames, the parameters, the configuration and the frame numbers, and on nothing else: not
 * on how the stream is cut into pushes, on the machine or on the instruction set. A stream equals attn_forward () over
 * the whole sequence, bit for bit. All sums run in one fixed order, all arithmetic is float32 with fused multiply-add
 * where written. (ATTN_ARITHMETIC_FAST is the exception, and says what it promises.)
 *   - Inputs and parameters below the smallest normal float32 (1.18e-38) count as 0.
 *   - Every sum of products starts from a guard of about 3e-31, which is subtracted at its end. So no sum passes
 *     through denormals, which cost processors many times as much time. Besides its rounding, a sum is off by up to
 *     1.2e-38 per term. This does not matter where products, scores and outputs lie between 1e-30 and 1e30. Outputs
 *     below 1e-30 lose digits, and outputs below 1e-37 may be 0. A sum beyond 3.4e38 is infinite.
 *   - The positions of Transformer-XL: r_d is rounded to float32; P r_d is one sum over D, rounded to the precision of
 *     the parameters; (query + v) . (P r_d) is one sum over dk, which is added to that of (query + u) . key.
 *   - The library is tested on amd64, arm64, armhf, i386, ppc64el, riscv64 and s390x. Files and saved states have one
 *     order of bytes, and move between all of them. i386 needs SSE2, because its x87 computes with more precision than
 *     float32 has.
 *   - The caller's floating-point mode (rounding, flushed denormals, traps) has no influence on the machines above, and
 *     is put back. On any other machine only the caller's rounding is set aside: there the caller must not flush
 *     denormals.
 *   - A NaN reaches only the outputs whose window (or sinks) hold the frame it came in. Every NaN is stored as
 *     0x7fc00000.
 *
 *
 * Threads and real time
 * ---------------------
 * A layer may be used by any number of streams in any number of threads. A stream is used by one thread at a time.
 * Functions marked [real-time] do not allocate, lock, log or make a system call, and their work per frame is bounded.
 * They set the floating-point mode they need and put the caller's back.
 *
 * With n_threads > 1 each stream has its own threads. They share a step of a push (a linear layer, an attention), by
 * heads and by outputs, if it has at least 400,000 operations, and 200 for each value that it reads and writes;
 * otherwise the caller works alone. The bits do not depend on the threads. A thread sleeps after about a hundred
 * microseconds without work. The next push then takes a lock and makes a system call to wake it. A forked process has
 * none of these threads: there the caller works alone, and the bits are the same.
 *
 *
 * A complete program
 * ------------------
 *   AttnConfig config = attn_config_default ();
 *   AttnError error;
 *   AttnLayer *layer;
 *   AttnStream *stream;
 *
 *   config.n_features = 80;
 *   config.n_heads = 4;
 *   config.window = 100;
 *   if (attn_layer_new (&config, NULL, &layer, &error) != ATTN_OK
 *       || attn_stream_new (layer, &stream, &error) != ATTN_OK)
 *     return puts (error.message), 1;
 *   while (read_frame (frame))
 *     if (attn_stream_push (stream, frame, 1, out, NULL))
 *       write_frame (out);
 *   attn_stream_free (stream);
 *   attn_layer_free (layer);
 */
#ifndef ATTN_H
#define ATTN_H

/* The version of this header. attn_version () returns that of the library. */
#define ATTN_VERSION_MAJOR 0
#define ATTN_VERSION_MINOR 1
#define ATTN_VERSION_MICRO 0

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ATTN_API __attribute__ ((visibility ("default")))
#define ATTN_CHECKED __attribute__ ((warn_unused_result)) /* the caller looks at the status */
#else
#define ATTN_API
#define ATTN_CHECKED
#endif

/* ---- errors ---- */

typedef enum {
  ATTN_OK = 0,
  ATTN_ERROR_CONFIG, /* a value of the configuration is out of range, or two of them disagree */
  ATTN_ERROR_FILE,   /* the model file cannot be read */
  ATTN_ERROR_FORMAT, /* the model file is not a valid safetensors file */
  ATTN_ERROR_MODEL,  /* the model holds no layer or encoder of a known kind, or disagrees with the configuration */
  ATTN_ERROR_MEMORY, /* out of memory, or a size beyond what can be addressed */
  ATTN_ERROR_STATE   /* a saved state that is damaged, or does not belong to the layer */
} AttnStatus;

/* One sentence for a person. It names the values that disagree. Always terminated; empty after success. */
typedef struct {
  AttnStatus status;
  char message[1024];
} AttnError;

/* The version of the library at run time, such as "0.1.0". */
ATTN_API const char *attn_version (void);

/* ---- configuration ---- */

/* Limits. They keep every derived size far below 2^63. */
#define ATTN_MAX_FEATURES 65536u
#define ATTN_MAX_WINDOW 16777216u /* also for look_ahead, n_sinks, and (chunks + 1) chunk */
#define ATTN_MAX_CHUNK 1048576u   /* frames of a chunk, and until the chunks of all layers begin together again */
#define ATTN_MAX_DISTANCES 65536u /* window + look_ahead with ATTN_POSITION_TRANSFORMER_XL */
#define ATTN_MAX_THREADS 64u

/*
 * The value of a field of AttnConfig that the program leaves to the model. Such a field takes its value from the
 * model's metadata, or else the default in the comment beside it. attn_config_default () leaves all fields unset that
 * metadata can set. A field that is set must agree with the metadata, even if it is set to its default.
 */
#define ATTN_UNSET UINT32_MAX                        /* of whole numbers */
#define ATTN_UNSET_DOUBLE (-1.7976931348623157e+308) /* of doubles */

/* How a score depends on the distance between two frames. */
typedef enum {
  ATTN_POSITION_UNSET = -1,
  ATTN_POSITION_NONE,     /* not at all */
  ATTN_POSITION_ROPE,     /* rotary position embedding (Su et al. 2021, RoFormer) */
  ATTN_POSITION_ALIBI,    /* attention with linear biases (Press et al. 2022); look-ahead: |distance| */
  ATTN_POSITION_RELATIVE, /* a trained bias per head and distance, `relative_bias` of the model */
  /*
   * Sines of the distance, projected and multiplied by the query (Dai et al. 2019); a conformer's usual positions. D is
   * even. There are no sinks: their distance has no end. window + look_ahead is at most ATTN_MAX_DISTANCES, and at most
   * the larger of 64 D and 2^20 / (n_heads dk): a small file makes no large layer.
   */
  ATTN_POSITION_TRANSFORMER_XL
} AttnPosition;

/* Which of a head's n rotated values are pair i, i < n/2. Values behind the first n are left as they are. */
typedef enum {
  ATTN_ROPE_UNSET = -1,
  ATTN_ROPE_HALF,       /* i and i + n/2: GPT-NeoX, and Llama as Hugging Face has it */
  ATTN_ROPE_INTERLEAVED /* 2i and 2i + 1: RoFormer, GPT-J, and Llama as Meta has it */
} AttnRopeLayout;

/* The norm of each head's queries and keys. `q_norm.weight` and `k_norm.weight` of the model are its weights. */
typedef enum {
  ATTN_QK_NORM_UNSET = -1,
  ATTN_QK_NORM_NONE,
  ATTN_QK_NORM_LAYER, /* by mean and variance; there may be biases */
  ATTN_QK_NORM_RMS    /* by the mean of squares */
} AttnQkNorm;

/*
 * The type in which parameters (not biases), keys and values are stored. They are rounded to nearest, ties to even. All
 * arithmetic is float32. The 16-bit types halve the memory that is read, and reading it takes most of the time of a
 * large layer. The bits are the same everywhere, as with f32.
 *
 * The error of an output against float64, relative to the largest output, where scores are of order one and a frame has
 * 8 values or more: f32 2e-6, f16 2 * 2^-11 (1e-3), bf16 2 * 2^-8 (8e-3). One random layer in a hundred exceeds these
 * figures. Larger scores magnify the rounding of the keys. In a narrower layer fewer errors cancel, and an output may
 * be the small difference of large products: one in five of the layers with one value per frame exceeds the figures,
 * some by a hundred times. There is a bound for any layer without RoPE: f16 and bf16 add at most (exp (6 u S) (1 + u)^3
 * - 1) M, which is (3 + 6 S) u M where u S is small. Here u = 2^-11 or 2^-8, S is the largest score and M the output,
 * both computed as if every product were positive. (f16 stores values below 6e-5 with an error of up to 2^-25.)
 */
typedef enum {
  ATTN_PRECISION_F32,
  ATTN_PRECISION_F16, /* binary16 of IEEE 754: 11 bits, up to 65504; a parameter beyond that is refused */
  ATTN_PRECISION_BF16 /* the upper half of a float32: 8 bits, the range of float32 */
} AttnPrecision;

/*
 * How frames are computed.
 *
 * ATTN_ARITHMETIC_EXACT uses one fixed order of float32 operations, and gives the same bits everywhere.
 *
 * ATTN_ARITHMETIC_FAST sends frames that are pushed together through the processor's matrix unit (Intel AMX, on Linux),
 * in blocks of up to 16. A push is cut where the number of a frame is a multiple of 16, so 16 frames per push suit it
 * best. Linear layers use the unit for blocks of at least 8 frames (6 from 128 inputs on, 5 from 512 on). Scores and
 * contexts use it for blocks of at least 8 frames (12 if dk is less than 32), if the frames of the window came in such
 * blocks, too. Every product of float32 becomes three of bf16, high high + high low + low high, summed in float32. The
 * largest error of an output against exact, relative to the largest output, is about 1e-5 where scores are of order one
 * and values above 1e-32. With a window in f16 or bf16 it is up to a tenth of the error of storing the window. The bits
 * are not promised: they depend on the unit, and on how the stream is cut into blocks.
 *
 * Computed as in exact are smaller blocks, all blocks on a machine without such a unit, values that are not finite,
 * values of 2^53 or more, and the products (query + v) . (P r_d) of Transformer-XL's positions. Blocks that do not use
 * the unit take the time of exact. Parameters and windows take twice the memory (three times in f16 and bf16) if the
 * values per head are a multiple of 32; a smaller head counts as 32 (keys) and 16 (values). The first layer of this
 * kind asks the system to let the process use the unit. If the system refuses, the layer works as without one.
 */
typedef enum { ATTN_ARITHMETIC_EXACT, ATTN_ARITHMETIC_FAST } AttnArithmetic;

/*
 * Start from attn_config_default (): later versions may put fields in the place of the reserved ones. "Unset" in a
 * comment below says that the default configuration leaves the field unset. The value behind it applies if there is no
 * model, or if its metadata does not set the field.
 */
typedef struct {
  uint32_t n_features; /* D, values per frame, 1 ... ATTN_MAX_FEATURES; 0 = the model's width. Default 0 */
  uint32_t n_heads;    /* 1 ... ATTN_MAX_FEATURES; divides D, or the rows of a model's projections. Unset: 1 */
  uint32_t n_kv_heads; /* key/value heads, divides n_heads; 0 = n_heads. Unset: 0 */
  uint32_t window;     /* frames, 1 ... ATTN_MAX_WINDOW, the frame itself included. Unset: 64 */
  uint32_t look_ahead; /* frames, 0 ... ATTN_MAX_WINDOW. Unset: 0 */
  uint32_t n_sinks;    /* frames, 0 ... ATTN_MAX_WINDOW. Unset: 0 */
  double scale;        /* factor of query . key, finite; 0 = 1 / sqrt (dk). Unset: 0 */
  double softcap;      /* score := softcap tanh (score / softcap); 0 = off, or 1e-30 ... 1e30. Unset: 0 */

  double rope_base;           /* RoPE: >= 1, finite; the larger, the slower the rotation. Unset: 10000 */
  AttnPosition position;      /* unset: relative or transformer-xl where the model has its tensors, else none */
  AttnRopeLayout rope_layout; /* unset: ATTN_ROPE_HALF */
  uint32_t rope_dimensions;   /* rotated values per head, even, <= dk; 0 = dk. Unset: 0 */

  AttnPrecision precision; /* default ATTN_PRECISION_F32 */
  uint32_t n_threads;      /* of each stream, the caller's own included, 0 ... ATTN_MAX_THREADS; 0 = 1. Default 0 */

  AttnArithmetic arithmetic; /* default ATTN_ARITHMETIC_EXACT */

  double qk_norm_eps; /* of qk_norm, 1e-30 ... 1e30. Unset: 1e-5 */
  AttnQkNorm qk_norm; /* unset: ATTN_QK_NORM_NONE, which a model with such tensors does not allow */

  /*
   * Chunks in place of a window. Set both fields, and leave window and look_ahead unset. The configuration in effect
   * has the most that any frame of a chunk sees: window is (chunks + 1) chunk, at most ATTN_MAX_WINDOW, and look_ahead
   * is chunk - 1.
   */
  uint32_t chunk;  /* frames of a chunk, 1 ... ATTN_MAX_CHUNK; 0 = none. Unset: 0 */
  uint32_t chunks; /* earlier chunks that a frame attends to, beside its own. Unset: 0 */

  uint32_t reserved[9]; /* 0 */
} AttnConfig;

ATTN_API AttnConfig attn_config_default (void);

/* ---- model ---- */

/*
 * The parameters of one attention layer from a safetensors file (https://github.com/huggingface/safetensors), dtype
 * F32, F16, BF16 or F64. Under `prefix` (such as "encoder.layers.0.self_attn."; NULL = "") exactly one of these schemes
 * is found by name:
 *
 *   PyTorch nn.MultiheadAttention  in_proj_weight, or q_proj_weight, k_proj_weight and v_proj_weight; in_proj_bias;
 *                                  out_proj.weight, out_proj.bias
 *   Hugging Face                   q_proj, k_proj, v_proj, and one of o_proj, out_proj, output_proj and dense; each
 *                                  .weight, .bias
 *   Annotated Transformer          linears.0 (q), linears.1 (k), linears.2 (v), linears.3 (output); each .weight, .bias
 *
 * Shapes are [out, in], as in PyTorch: q [n_heads * dk, D], k [n_kv_heads * dk, D], v [n_kv_heads * dv, D], output
 * [Dout, n_heads * dv]. The output projection may be absent (then Dout = n_heads * dv), and so may any bias. With any
 * scheme there may be `relative_bias` [n_heads, window + look_ahead], oldest first: entry j is added to the scores of
 * frame t - window + 1 + j. A layer made from such a model has ATTN_POSITION_RELATIVE. Other models do not allow that
 * position.
 *
 * With any scheme there may be `q_norm.weight` [dk] and `k_norm.weight` [dk], with qk_norm layer also `q_norm.bias`
 * [dk] and `k_norm.bias` [dk] or one of them. Such a model needs a qk_norm, and a qk_norm needs such a model.
 *
 * With any scheme there may be `linear_pos.weight` [n_heads * dk, D] (and no bias), `pos_bias_u` and `pos_bias_v`
 * [n_heads, dk], all three of them. A layer made from such a model has ATTN_POSITION_TRANSFORMER_XL.
 *
 * Any other tensor under the prefix is an error, because leaving it out would silently give other numbers. The error
 * names the tensor and says what it is for. These tensors are ignored, because the layer does not need them:
 * rotary_emb.inv_freq, rotary_emb.cos_cached, rotary_emb.sin_cached (tables of RoPE), position_ids, masked_bias, a
 * `bias` of four dimensions or of dtype BOOL (a mask: the window stands for it), and mask, causal_mask and attn_mask of
 * dtype BOOL.
 *
 * Entries of the file's metadata that are called heads, kv-heads, window, look-ahead, sinks, scale, softcap, position
 * (none, rope, alibi, relative, transformer-xl), rope-base, rope-layout (half, interleaved), rope-dimensions, qk-norm
 * (none, layer, rms), qk-norm-eps, chunk or chunks give the unset fields of AttnConfig their values; fields that are
 * set must agree with them. A program reads the other entries, such as a note on the training data, by
 * attn_model_metadata ().
 */
typedef struct AttnModel AttnModel;

/*
 * Reads the layer under `prefix` from the file at `path`. The caller frees *model by attn_model_free (). Any thread.
 *
 * This and every other call that reads a file copies what it needs, and closes the file before it returns. (It never
 * maps a file.) So a file may be replaced, truncated or deleted after the call. During the call a file may be replaced,
 * which is to say that a new version is written beside it and renamed, or deleted: the old version is read. A file that
 * somebody writes to or truncates during the call is ATTN_ERROR_FILE.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_model_open (const char *path, const char *prefix, AttnModel **model,
                                                  AttnError *error);

/* The same from `size` bytes in memory, which are not needed after the call. */
ATTN_API ATTN_CHECKED AttnStatus attn_model_open_memory (const void *data, size_t size, const char *prefix,
                                                         AttnModel **model, AttnError *error);

/*
 * Reads the header of the file alone, for attn_model_metadata () and attn_config_resolve (). It finds all faults of
 * names, shapes and dtypes. No layer can be made from this model.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_model_peek (const char *path, const char *prefix, AttnModel **model,
                                                  AttnError *error);

/*
 * The metadata of a safetensors file, whatever its tensors are. Programs that make the input of a model read
 * sample-rate, bins ... there. Reads the header alone. The caller frees *metadata by attn_metadata_free (). On failure
 * *metadata is NULL. Any thread.
 */
typedef struct AttnMetadata AttnMetadata;

ATTN_API ATTN_CHECKED AttnStatus attn_metadata_open (const char *path, AttnMetadata **metadata, AttnError *error);

/* The text under `key`. It lives as long as *metadata. NULL: no such entry. Any thread. */
ATTN_API const char *attn_metadata_get (const AttnMetadata *metadata, const char *key);

/* Accepts NULL. */
ATTN_API void attn_metadata_free (AttnMetadata *metadata);

/* The text under `key` in the file's metadata. It lives as long as the model. NULL: no such entry. Any thread. */
ATTN_API const char *attn_model_metadata (const AttnModel *model, const char *key);

/*
 * Sets the unset fields of *config from the model's metadata (`model` NULL: none), or else to their defaults, as
 * attn_layer_new () does. n_features 0 becomes the width of the model. Fields that are set are not compared. Returns
 * ATTN_ERROR_MODEL if the metadata holds an impossible value, and ATTN_ERROR_CONFIG if fields mean nothing together
 * (chunk without chunks, or beside another window). Then *config is unchanged.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_config_resolve (AttnConfig *config, const AttnModel *model, AttnError *error);

/* Accepts NULL. Layers made from the model stay valid. */
ATTN_API void attn_model_free (AttnModel *model);

/* ---- layer ---- */

typedef struct AttnLayer AttnLayer;

/*
 * Checks the configuration (against the model, if there is one) and packs the parameters. `model` NULL: parameter-free.
 * The caller frees *layer by attn_layer_free (), after its last stream. `error` may be NULL. On failure *layer is NULL.
 * Any thread.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_layer_new (const AttnConfig *config, const AttnModel *model, AttnLayer **layer,
                                                 AttnError *error);
ATTN_API void attn_layer_free (AttnLayer *layer); /* accepts NULL */

/* ---- encoders ---- */

/*
 * Whole encoders
 * --------------
 * An encoder is a list of blocks. The frames that leave a block enter the next one. Each block keeps its own past and
 * waits for its own later frames. So every frame is computed once, and the stream has the bits of the whole sequence.
 * The look-aheads of many layers add up to a delay, attn_layer_reach_ahead (). An encoder is a layer like any other:
 * streams over it are pushed, skipped, drained, saved and restored, and they equal attn_forward ().
 *
 * A block has a stride s, a reach back L and a reach ahead R: output i reads the inputs i s - L ... i s + R. Two blocks
 * in a row have s = s1 s2, L = L1 + s1 L2, R = R1 + s1 R2. With chunks L and R are the largest of any output, which may
 * be less than these sums. Each block numbers frames at its own rate. A block that works on single frames leaves absent
 * ones absent. Nothing attends to an absent frame. conv, conv2d and stack read it as zeros; their output is absent if
 * all frames that it reads are. A residual is absent where its input is.
 *
 * The file is a safetensors file with an entry `encoder` in its metadata, JSON:
 *
 *   {"version": 1, "features": 80, "frame-rate": [100, 1], "blocks": [
 *     {"residual": [{"norm": "layers.0.norm1"},
 *                   {"attention": "layers.0.self_attn", "heads": 4, "window": 17, "look-ahead": 4}]},
 *     {"residual": [{"norm": "layers.0.norm2"}, {"linear": "layers.0.linear1", "activation": "gelu"},
 *                   {"linear": "layers.0.linear2"}]},
 *     {"linear": "ctc"}, {"activation": "log-softmax"}]}
 *
 * `frame-rate` may be missing. One key of each block is its kind. The value of that key is the name of the block's
 * tensors, or the value that this table gives. Other keys have the default in brackets:
 *
 *   linear      activation (W x + b). NAME.weight [out, in], NAME.bias [out] or none. `activation` (none): all of those
 *               below but softmax and log-softmax
 *   norm        NAME.weight [D], NAME.bias [D] or none; null: neither. `kind` (layer): layer, (x - m) / sqrt (v + eps)
 *               w + b with mean and variance over the frame's values; rms: x / sqrt (mean of squares + eps) w. `eps`
 *               (1e-5)
 *   activation  none, relu, gelu (by erf), gelu-tanh, silu, tanh, sigmoid; over the frame: softmax, log-softmax
 *   glu         none, relu, gelu, gelu-tanh, silu, sigmoid: the first half of the frame times that of the second
 *   affine      x w + b. NAME.weight [D], NAME.bias [D] or none
 *   sinusoid    true: x + sin and cos of (t + offset) base^(-2i/D), i < D/2, t the frame's number. `base` (10000),
 *               `offset` (0), `layout` (interleaved): interleaved (sin, cos, sin ...), half (first all sines)
 *   attention   as AttnConfig and AttnModel say, the tensors under NAME. in one of the naming schemes. Required are
 *               `heads`, and `window` (with `look-ahead`, if wanted) or `chunk` and `chunks`. Others: `kv-heads`,
 *               `sinks`, `scale`, `softcap`, `position`, `rope-base`, `rope-layout`, `rope-dimensions`, `qk-norm`,
 *               `qk-norm-eps`
 *   conv        y_i = activation (b + sum over j of W_j x_(i stride - left + j dilation)), zeros beyond both ends of
 *               the stream, as PyTorch's Conv1d. NAME.weight [out, in / groups, kernel], NAME.bias [out] or none.
 *               `stride` (1), `dilation` (1), `groups` (1), `activation` (none); `left` (0), at most (kernel - 1)
 *               dilation, and `right` (0), at most that + stride - 1: zeros before the first and behind the last frame
 *   conv2d      conv over time and frequency, as PyTorch's Conv2d: a frame is [channels][bins], going in and coming
 *               out. NAME.weight [out, channels / groups, kernel in time, kernel in frequency], NAME.bias [out] or
 *               none. The weight tells the channels, and the width of the frames tells the bins. `stride` ([1, 1]) in
 *               time, in frequency; `left`, `right` as above; `low` (0), at most kernel - 1, and `high` (0), at most
 *               kernel + stride - 2, both in frequency: zeros below and above the bins; `groups` (1), `activation`
 *               (none)
 *   stack       n: n frames one behind the other, oldest first; an incomplete last one is dropped
 *   residual    a list of blocks f: x + f (x). f keeps the width and has as many outputs as inputs: no stack in it, and
 *               only convolutions of stride 1 with left + right = (kernel - 1) dilation
 *
 * Everything is checked, and an error names the block (blocks[4].residual[1]), the tensor and both numbers. Unknown
 * keys are errors, and so are tensors under the name of a block that no block computes with. (Tensors that AttnModel
 * ignores are ignored here, too.) Two blocks may name the same tensor. Tensors under no block's name are ignored, and
 * so are the metadata of single layers (heads, window ...). attn_layer_metadata () returns all other metadata.
 *
 * Memory: the layer holds a packed copy of all parameters. An encoder has at most 4096 blocks, 2^32 parameters, and
 * 2^24 values per frame, added up over the blocks. A tensor that several blocks name counts for each of them. A small
 * file makes no large layer: the parameters of all blocks are at most 64 times those of the file, or 2^20 if that is
 * more, and so are the values P r_d of all attentions. With chunks, the number of frames until all of them begin
 * together, times the number of blocks, is at most 2^22: so an encoder opens in the time that reading its file takes. A
 * stream holds the window of each attention, (window + look_ahead) (keys + values) float32; the frames under the kernel
 * of each convolution; and the frames that wait in each residual, R width float32. attn_layer_stream_size () returns
 * the sum.
 */

/* Start from attn_encoder_options_default (): later versions may put fields in the place of the reserved ones. */
typedef struct {
  AttnPrecision precision;   /* of all parameters and windows. Default ATTN_PRECISION_F32 */
  AttnArithmetic arithmetic; /* of linear layers and attentions. Default ATTN_ARITHMETIC_EXACT */
  uint32_t n_threads;        /* of each stream, the caller's own included, 0 ... ATTN_MAX_THREADS; 0 = 1. Default 0 */
  uint32_t reserved[13];     /* 0 */
} AttnEncoderOptions;

ATTN_API AttnEncoderOptions attn_encoder_options_default (void);

/*
 * Makes a layer of a whole encoder from the file at `path`. `options` NULL: the default. The caller frees *layer by
 * attn_layer_free (), after its last stream. On failure *layer is NULL. `error` may be NULL. Any thread.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_encoder_open (const char *path, const AttnEncoderOptions *options,
                                                    AttnLayer **layer, AttnError *error);

/* The same from `size` bytes in memory, which are not needed after the call. */
ATTN_API ATTN_CHECKED AttnStatus attn_encoder_open_memory (const void *data, size_t size,
                                                           const AttnEncoderOptions *options, AttnLayer **layer,
                                                           AttnError *error);

/*
 * The text under `key` in the file's metadata, which may describe the training data. It lives as long as the layer.
 * NULL: no such entry, or a layer of attn_layer_new ().
 */
ATTN_API const char *attn_layer_metadata (const AttnLayer *layer, const char *key);

/* The frames per second in an encoder's file, as a fraction. 0/1: the file does not say. */
ATTN_API void attn_layer_frame_rate (const AttnLayer *layer, uint32_t *numerator, uint32_t *denominator);

/* ---- what a layer is ---- */

ATTN_API uint32_t attn_layer_n_features (const AttnLayer *layer); /* D, values per input frame */
ATTN_API uint32_t attn_layer_n_outputs (const AttnLayer *layer);  /* Dout, values per output frame */

/*
 * With stride s, reach back L and reach ahead R, output i reads the inputs i s - L ... i s + R that exist. (A sink is
 * seen at any distance, and not counted in L.) The layer of attn_layer_new () has s = 1, L = window - 1 and R =
 * look_ahead. R is the latency, in input frames. With chunks L and R are the most that any output has: the last frame
 * of a chunk waits for nothing, the first one for R.
 */
ATTN_API uint64_t attn_layer_stride (const AttnLayer *layer);
ATTN_API uint64_t attn_layer_reach_back (const AttnLayer *layer);
ATTN_API uint64_t attn_layer_reach_ahead (const AttnLayer *layer);

/*
 * The number of outputs after `n_frames` inputs. ready: while the stream goes on, max (0, floor ((n_frames - 1 - R) /
 * s) + 1), however the inputs were cut into pushes. With chunks, ready is the number of outputs whose chunks are
 * complete, in a stream that begins at frame 0. count: after the stream was drained.
 */
ATTN_API uint64_t attn_layer_ready (const AttnLayer *layer, uint64_t n_frames);
ATTN_API uint64_t attn_layer_count (const AttnLayer *layer, uint64_t n_frames);

/*
 * The number of input frames after which all chunks and the stride begin together again: what outputs wait for repeats
 * then. 1: there are no chunks, and each output waits for R.
 */
ATTN_API uint64_t attn_layer_period (const AttnLayer *layer);

/*
 * The number of blocks of an encoder, including those inside residuals, and the number of their parameters. A tensor
 * that two blocks name counts twice. 0 for a layer of attn_layer_new ().
 */
ATTN_API uint32_t attn_layer_n_blocks (const AttnLayer *layer);
ATTN_API uint64_t attn_layer_n_parameters (const AttnLayer *layer);

/*
 * The cost of a frame that comes in, on average, when all windows are full: the sums and multiplications of linear
 * layers, convolutions and attentions. Norms, activations and softmax add a few per value. A processor core does some
 * 10^10 to 10^11 of them per second (attn-bench measures yours): an encoder of which a frame takes more than that,
 * divided by the rate of the frames, cannot keep up with its source.
 */
ATTN_API double attn_layer_operations (const AttnLayer *layer);

/* The number of attentions of a layer: 1, except in encoders, which may have any number. */
ATTN_API uint32_t attn_layer_n_attentions (const AttnLayer *layer);

/*
 * The configuration in effect of attention `i`, in the order in which frames meet them: no field is unset, and
 * n_features is the width of the frames that come to it. A zero that stands for a value derived from other fields is
 * still a zero. It lives as long as the layer. NULL: the layer has fewer attentions.
 */
ATTN_API const AttnConfig *attn_layer_attention (const AttnLayer *layer, uint32_t i);

/*
 * Input frames per frame that comes to attention `i`: the stride of the blocks in front of it. Frame j of the
 * attention, and so its row j, is that of input frame j stride. 0: the layer has fewer attentions.
 */
ATTN_API uint64_t attn_layer_attention_stride (const AttnLayer *layer, uint32_t i);

/*
 * The number of input frames behind frame j stride that row j of attention `i` waits for: R of the blocks up to this
 * attention, and of itself. With chunks it is the most that any row waits for. 0: the layer has fewer attentions.
 */
ATTN_API uint64_t attn_layer_attention_reach_ahead (const AttnLayer *layer, uint32_t i);

/* The number of rows of attention `i` that are ready after `n_frames` inputs, as attn_layer_ready () of outputs. */
ATTN_API uint64_t attn_layer_attention_ready (const AttnLayer *layer, uint32_t i, uint64_t n_frames);

/* The numbers of attention 0; 0 if the layer has no attention. */
ATTN_API uint32_t attn_layer_n_heads (const AttnLayer *layer);
ATTN_API uint32_t attn_layer_n_sinks (const AttnLayer *layer);
ATTN_API uint32_t attn_layer_window (const AttnLayer *layer);

/*
 * Weights per head and frame: span = n_sinks + window + look_ahead. Slot n_sinks + j is frame t - window + 1 + j. Slot
 * i < n_sinks is sink i once the window has left it behind; before that, the sink has only its slot of the window. A
 * slot without a frame, or with an absent one, is 0; with chunks, so is one outside of the frame's chunks. The span is
 * that of attention 0; the others have their own, by attn_layer_attention ().
 */
ATTN_API uint32_t attn_layer_span (const AttnLayer *layer);

/*
 * The number of bytes that a stream over the layer allocates, all at once. SIZE_MAX: more than can be addressed. A file
 * can ask for large windows and look-aheads: if it comes from a stranger, check this number first.
 */
ATTN_API size_t attn_layer_stream_size (const AttnLayer *layer);

/* The kernels picked for this machine, such as "avx512" or "c"; with a matrix unit, "avx512+amx". */
ATTN_API const char *attn_layer_kernels (const AttnLayer *layer);

/* ---- stream ---- */

typedef struct AttnStream AttnStream;

/*
 * Starts at frame 0. The caller frees *stream by attn_stream_free (). All memory that it will ever use is allocated
 * here; from 2 MiB on it asks the system for huge pages, as layers do. A few frames of zeros run through it and are
 * forgotten, so that the first push does not wait until code and memory are loaded: make a stream in the thread that
 * pushes.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_new (const AttnLayer *layer, AttnStream **stream, AttnError *error);
ATTN_API void attn_stream_free (AttnStream *stream); /* accepts NULL */

/*
 * [real-time] Takes `n` frames [n][D] and writes the outputs that are ready, oldest first, [][Dout]: output i is ready
 * when frame i stride + reach_ahead has come in, or with chunks, when the last frame of its chunks has. Returns their
 * number. attn_stream_ready () returns it before the push; it is never more than n, except with chunks, where the last
 * frame of a chunk makes all its outputs ready. `weights`, if not NULL, receives as many rows [n_heads][span]. It must
 * be NULL unless the layer is a single attention, as attn_layer_new () makes it; attn_stream_watch () works with any
 * layer. `out` NULL: the outputs are not wanted. `out` and `weights` may not overlap `frames`. Cost, of a single
 * attention: O (n (D^2 + span D)).
 */
ATTN_API size_t attn_stream_push (AttnStream *stream, const float *frames, size_t n, float *out, float *weights);

/*
 * [real-time] As attn_stream_push () for `n` frames that are absent (lost, or known to be silent): nothing attends to
 * them, frame numbers go on, and their own outputs (and weights) are 0. `out` NULL: nothing is written, and for any `n`
 * the call costs no more than a push of as many frames as the layer reaches back and ahead. (A convolution that reaches
 * over the gap has outputs that are present.)
 */
ATTN_API uint64_t attn_stream_skip (AttnStream *stream, uint64_t n, float *out, float *weights);

/*
 * [real-time] The end of the stream: writes the attn_stream_pending () outputs that still wait for later frames, and
 * returns their number. Reset the stream before the next push; without a reset, a push does nothing and returns 0.
 */
ATTN_API size_t attn_stream_drain (AttnStream *stream, float *out, float *weights);

/*
 * [real-time] attn_stream_run () does the same as attn_stream_push () or, with `frames` NULL, attn_stream_skip ().
 * attn_stream_finish () does the same as attn_stream_drain (). Both also tell which outputs are absent: present [i]
 * becomes 1 if output i is present, and 0 if it is absent and therefore all zeros. `present` may be NULL. `room` is the
 * number of outputs that there is space for, at least 16. attn_stream_finish () stops when the rest of the room may be
 * too small for the next outputs, which are up to 16 at once. Call it until it returns 0.
 */
ATTN_API uint64_t attn_stream_run (AttnStream *stream, const float *frames, uint64_t n, float *out, float *weights,
                                   uint8_t *present);
ATTN_API size_t attn_stream_finish (AttnStream *stream, float *out, float *weights, uint8_t *present, size_t room);

/* [real-time] 1 if the stream is at its end: it was drained, and not reset since. Else 0. */
ATTN_API int attn_stream_is_drained (const AttnStream *stream);

/*
 * [real-time] Forgets all frames. The next one has the number `first_frame`, which must be a multiple of the layer's
 * stride: otherwise returns ATTN_ERROR_CONFIG and changes nothing. (0 never fails; with stride 1 no number does.)
 * `error` may be NULL. The cost does not depend on the windows.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_reset (AttnStream *stream, uint64_t first_frame, AttnError *error);

/* [real-time] The number of the next frame to come in. */
ATTN_API uint64_t attn_stream_next_frame (const AttnStream *stream);

/* [real-time] The number of the next output to leave: output i is that of frame i stride. */
ATTN_API uint64_t attn_stream_next_output (const AttnStream *stream);

/* [real-time] The number of outputs that wait for later frames. attn_stream_drain () would write them now. */
ATTN_API size_t attn_stream_pending (const AttnStream *stream);

/* [real-time] The number of outputs that a push or a skip of `n` frames would write now. */
ATTN_API uint64_t attn_stream_ready (const AttnStream *stream, uint64_t n);

/*
 * Groups: many streams in one call
 * --------------------------------
 * A push of one frame reads all parameters of the layer for that frame. A group pushes the frames of many streams of
 * one layer together: their frames stand side by side as rows of one block, in every linear layer and convolution, and
 * the parameters are read once for up to sixteen rows. Each stream still reads its own window. So a group saves most
 * where the parameters are large and the windows are small. Each stream has the bits that it has alone (except in
 * ATTN_ARITHMETIC_FAST), so it does not matter who shares a call with whom. The streams may differ in all that belongs
 * to a stream: in age, absent frames, outputs still owed, gains and watches. They may have different numbers of frames,
 * or none.
 *
 *   AttnPush pushes[16];
 *
 *   if (attn_group_new (layer, 16, &group, &error) != ATTN_OK)
 *     return puts (error.message), 1;
 *   for (n = 0; n < 16 && next_arrival (&arrival); n++)
 *     pushes[n] = (AttnPush){ .stream = arrival.stream, .frames = arrival.frame, .n_frames = 1, .out = arrival.out };
 *   if (attn_group_push (group, pushes, n, &error) != ATTN_OK)
 *     return puts (error.message), 1;
 *   for (i = 0; i < n; i++)
 *     send (pushes[i].out, pushes[i].n_out);
 */

/* Working memory for such calls, and their threads. No stream belongs to it: it may push any streams of its layer. */
typedef struct AttnGroup AttnGroup;

/* What a stream brings to a call, and what it gets. Zeros: no frames, and nothing wanted. */
typedef struct {
  AttnStream *stream;
  const float *frames; /* [n_frames][D]; NULL: they are absent */
  uint64_t n_frames;
  float *out;       /* [][Dout]; NULL: not wanted. For this and the next two, see attn_stream_run () */
  float *weights;   /* [][n_heads][span]; NULL: not wanted */
  uint8_t *present; /* []; NULL: not wanted */
  uint64_t n_out;   /* written by the call: the number of outputs */
} AttnPush;

/*
 * For calls with up to `max_streams` streams. The layer must outlive the group. The caller frees *group by
 * attn_group_free (). If the layer has n_threads > 1, the group has as many threads; they share the streams of a call
 * and the outputs of a block of rows, and the threads of the streams themselves sleep.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_group_new (const AttnLayer *layer, size_t max_streams, AttnGroup **group,
                                                 AttnError *error);
ATTN_API void attn_group_free (AttnGroup *group); /* accepts NULL */

/*
 * [real-time] Does the same as attn_stream_run () for each of pushes [n], and sets its n_out. Returns
 * ATTN_ERROR_CONFIG, and changes nothing, when `n` is more than the group was made for, when a stream is one of another
 * layer, or when two pushes have the same stream. `error` names them; it may be NULL. (An equal layer, made from the
 * same file a second time, is another layer: its parameters stand elsewhere.) One thread at a time uses a group, and
 * during the call no other thread may use one of the streams: nothing checks this. No array may overlap another one,
 * not even one of another stream. Push about the same number of frames of each stream, best one or a few: a stream with
 * many frames makes all others wait.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_group_push (AttnGroup *group, AttnPush *pushes, size_t n, AttnError *error);

/*
 * Rows and gains
 * --------------
 * The attentions of an encoder are counted as in attn_layer_attention (), from 0 on. Each computes its rows as soon as
 * the frames that they look ahead to have come to it, and numbers them at its own rate. So each stands at another row:
 * one behind strides has fewer, and one behind look-ahead has them later.
 *
 *   AttnWatch watch = { .weights = malloc (room * n_heads * span * sizeof (float)), .room = room };
 *
 *   if (attn_stream_watch (stream, 2, &watch) != ATTN_OK)
 *     return puts ("there is no third attention"), 1;
 *   n_out = attn_stream_push (stream, frames, n, out, NULL);
 *   for (i = 0; i < watch.n_rows && i < watch.room; i++)
 *     show (watch.first + i, watch.weights + i * n_heads * span);
 */

/* Receives the rows of one attention. The caller owns it, and all that it points to. */
typedef struct {
  float *weights;   /* [room][n_heads][span]; NULL: the rows are only counted */
  uint8_t *present; /* [room]: 1: the row is there; 0: its frame is absent, and its weights are 0. NULL: not wanted */
  uint64_t room;    /* rows that may be written */
  uint64_t first;   /* number of the first row that the last call computed */
  uint64_t n_rows; /* number of rows that it computed. If they are more than `room`, only the first ones were written */
} AttnWatch;

/*
 * [real-time] From now on every push, skip, run, drain and finish writes the rows of the attention that it computes to
 * *watch, oldest first. A push (or a skip) of `n` frames computes attn_stream_rows_ready () of them; a drain, or all
 * calls of finish together, attn_stream_rows_pending (). A row has the bits that attn_forward () gives for that
 * attention alone, over the frames that come to it. Watching changes no bit of an output (in ATTN_ARITHMETIC_FAST:
 * while there is room). It costs the time to write the rows, and heads whose gain is 0 are computed, too. The cost of a
 * long absence then depends on `room`.
 *
 * The stream keeps the pointer: *watch must stay valid until the stream is freed or gets another one. Between two calls
 * `weights`, `present` and `room` may be changed. `watch` NULL ends the watching; attn_stream_reset () and
 * attn_stream_restore () do not end it. All three functions set n_rows to 0 and `first` to the number of the next row.
 * Returns ATTN_ERROR_CONFIG, and changes nothing, when there is no such attention.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_watch (AttnStream *stream, uint32_t attention, AttnWatch *watch);

/* [real-time] The number of the next row that the attention computes. 0: there is no such attention. */
ATTN_API uint64_t attn_stream_next_row (const AttnStream *stream, uint32_t attention);

/*
 * [real-time] The rows of the attention that a push, or a skip, of `n` frames would compute now, and the rows that
 * attn_stream_drain () would compute. 0: there is no such attention.
 */
ATTN_API uint64_t attn_stream_rows_ready (const AttnStream *stream, uint32_t attention, uint64_t n);
ATTN_API uint64_t attn_stream_rows_pending (const AttnStream *stream, uint32_t attention);

/*
 * [real-time] From the next row of the attention on (attn_stream_next_row ()), the context of `head` is multiplied by
 * `gain` (one float32 multiplication, rounded) before the output projection. With look-ahead, that row lies look_ahead
 * frames before the next frame to come to the attention. With chunks, it is that of the first frame of the chunk that
 * is not complete. 1, where every stream begins, changes no bit. At 0 the context is 0 whatever the frames hold, and
 * the head is only computed if its weights are asked for. The weights of an attention do not depend on its gains.
 * attn_stream_reset () and attn_stream_restore () do not change gains: a state does not contain them. In a layer with
 * one attention, `attention` is 0. Returns ATTN_ERROR_CONFIG, and changes nothing, when there is no such attention,
 * when `head` is not below its n_heads or when `gain` is not finite. A gain below the smallest normal float32 counts as
 * 0.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_set_gain (AttnStream *stream, uint32_t attention, uint32_t head,
                                                       float gain);

/*
 * [real-time] Each of the next `n` rows of the attention has gains of its own, gains [n][n_heads], as if
 * attn_stream_set_gain () were called between rows. So gains can change with time although many frames are pushed at
 * once. Later rows have the gains of the last one. The caller owns `gains`. It is read until its rows are computed, or
 * until this function, attn_stream_reset () or attn_stream_restore () is called. `n` 0 ends the gains per row. In
 * ATTN_ARITHMETIC_FAST a block of frames ends where gains change. Returns ATTN_ERROR_CONFIG, and changes nothing, when
 * there is no such attention or when a gain is not finite. Cost: O (n n_heads).
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_set_row_gains (AttnStream *stream, uint32_t attention, const float *gains,
                                                            uint64_t n);

/*
 * Saving and restoring
 * --------------------
 * A state holds the past that can still reach an output: the frame numbers, the keys and values of windows and sinks,
 * and the frames that wait for a look-ahead. A stream that restores it goes on with the bits that the saved stream
 * would have given, also in another process, on another machine and with other kernels. (In ATTN_ARITHMETIC_FAST the
 * stream must be cut alike, and the unit must be the same.) The layer must be the same in configuration and parameters,
 * which are compared by a 64-bit hash.
 *
 * The bytes, little-endian everywhere, without padding:
 *
 *   0   8  "attnstat"
 *   8   4  version, 2
 *   12  4  flags: 1 = drained; others 0
 *   16  8  size of the state in bytes
 *   24  8  hash of the layer
 *   32  8  number of the first frame since the reset
 *   40  8  number of the next frame to come in
 *   48     per block of the layer a section: 8 bytes with its length, then as many bytes
 *   end-8  8  FNV-1a of all bytes before
 *
 * The section of an attention:
 *
 *   0   8  number of the next frame to leave
 *   8      one bit per frame held (the lowest of a byte first): 1 = present, 0 = absent, 0 behind the last. The sinks
 *          that the window has left behind come first, then the window, each oldest first
 *          per frame that is present: its keys and values, float32
 *          per frame that is present and has not left: its queries, float32
 *
 * The section of a residual:
 *
 *   0      the sections of its blocks, each with its 8 bytes
 *          one bit per frame that waits, as above
 *          per waiting frame that is present: its values, float32
 *
 * The section of conv, conv2d or stack, empty if the stream is drained: the frames that later outputs read, bits and
 * values as above. Blocks that work on one frame keep nothing: their sections are empty.
 */

/* [real-time] The size in bytes of the state as it is now. It changes with the frames that are held. */
ATTN_API size_t attn_stream_state_size (const AttnStream *stream);

/*
 * [real-time] Writes the state to `data` [size]. `size` must be attn_stream_state_size () now, and no outputs may be
 * left for which attn_stream_finish () had no room; otherwise returns ATTN_ERROR_STATE and writes nothing. The same
 * stream always gives the same bytes. `error` may be NULL. Cost: O (size).
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_save (const AttnStream *stream, void *data, size_t size, AttnError *error);

/*
 * [real-time] The stream becomes the one that was saved in `data` [size], which is not needed after the call. Gains
 * stay as they are. The outputs that the saved stream still owed come first; attn_stream_pending () returns their
 * number. Everything is checked before anything changes. On failure returns ATTN_ERROR_STATE and leaves the stream
 * unchanged: if the data is too short, is not a state, has another version or another length than it says, is damaged
 * (checksum), belongs to another layer, or is a state that no stream could have produced (such as one of more than 2^62
 * frames). `error` names the fault, with both values; it may be NULL. (Nothing is ever allocated, but writing a
 * sentence takes time: pass NULL if that matters.) Cost: O (size).
 */
ATTN_API ATTN_CHECKED AttnStatus attn_stream_restore (AttnStream *stream, const void *data, size_t size,
                                                      AttnError *error);

/* ---- the whole sequence at once ---- */

/*
 * Runs the layer over a whole sequence: `n` frames [n][D], the first of which has the number `first_frame`, a multiple
 * of the stride. A stream gives the same bits (except in ATTN_ARITHMETIC_FAST). `present` [n], NULL = all: 0 marks an
 * absent frame. Writes out [attn_layer_count (n)][Dout] and, if not NULL, weights [n][n_heads][span], which only a
 * single attention has. All gains are 1. Allocates the memory of a stream, but no more than n frames need. Any thread.
 */
ATTN_API ATTN_CHECKED AttnStatus attn_forward (const AttnLayer *layer, const float *frames, const uint8_t *present,
                                               size_t n, uint64_t first_frame, float *out, float *weights,
                                               AttnError *error);

#ifdef __cplusplus
}
#endif

#endif
