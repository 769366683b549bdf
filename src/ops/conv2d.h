/* The convolution family: conv2d, its two gradients and conv2d_transpose are one relation between x
 * [N,C,H,W], w [K,C/G,KH,KW] and y [N,K,OH,OW]; each op computes one of the three from the other
 * two. */
#ifndef KL_OPS_CONV2D_H
#define KL_OPS_CONV2D_H

#include "ops/geom.h"
#include "ops/op.h"

typedef enum kl__conv_pass {
    KL__CONV_FWD,
    KL__CONV_DATA,
    KL__CONV_WEIGHTS
} kl__conv_pass; /* y, x or w is made */

/** An apply of the family read as that relation. Slots are inputs of the apply; KL__CONV_OUT is its
 * output. */
enum { KL__CONV_OUT = -1, KL__CONV_NONE = -2 };
typedef struct kl__conv {
    kl__conv_pass pass;
    int x, w, y, b; /* slots; b: added to the output's channels, or NONE */
    int N, C, K, G;
    int in[2], out[2], kernel[2], stride[2], dilation[2],
        pad[2]; /* height, width; pad: top, left */
} kl__conv;
kl__conv kl__conv_of(const kl__apply *a); /* shapes are final */
int64_t kl__conv_macs(const kl__apply *a); /* of any op of the family */

/** Attributes of conv2d_bwd_data and conv2d_bwd_weights. */
typedef struct kl__conv_bwd {
    int stride[2], dilation[2], pad[2], groups;
    int size[2]; /* bwd_data: height and width of dx; bwd_weights: of the kernel */
} kl__conv_bwd;

/** dx of y = conv2d(x, w), and dw. */
kl_node *kl__conv_bwd_data(kl_graph *g, kl_node *w, kl_node *dy, const kl__conv_bwd *o);
kl_node *kl__conv_bwd_weights(kl_graph *g, kl_node *x, kl_node *dy, const kl__conv_bwd *o);

/** w and b as parameters NAME.weight and NAME.bias. in[1] and in[2] are set; returns how many
 * inputs there are now. */
int kl__conv_params(kl_graph *g, const char *name, kl_shape weight, int filters, bool no_bias,
                    kl_init init, kl_node **in);
/** The sum of dy [N,K,H,W] over all but K. */
kl_node *kl__conv_bias_grad(kl_graph *g, kl_node *dy);
/** Checks of inputs that all ops of the family share: ranks, dtypes, the bias. */
kl_status kl__conv_check(const kl__apply *a, int64_t filters);

extern const kl__variant kl__conv_variants[];

/* The variants' functions (conv2d_wino.c, conv2d_solo.c, conv2d_ref.c). */
bool kl__conv_wino_fits(const kl__apply *a, const kl__caps *caps);
bool kl__conv_wino_pays(const kl__apply *a, const kl__caps *caps);
void kl__conv_wino_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out);
bool kl__conv_wino_epilogue(const kl__apply *a, const kl__apply *elt);
int kl__conv_wino_configs(const kl__apply *a, const kl__caps *caps);
size_t kl__conv_wino_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__conv_wino_emit(kl__emit *e, const kl__apply *a);
bool kl__conv_solo_fits(const kl__apply *a, const kl__caps *caps);
void kl__conv_solo_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out);
bool kl__conv_solo_epilogue(const kl__apply *a, const kl__apply *elt);
int kl__conv_solo_configs(const kl__apply *a, const kl__caps *caps);
size_t kl__conv_solo_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__conv_solo_emit(kl__emit *e, const kl__apply *a);
kl_status kl__conv_ref_emit(kl__emit *e, const kl__apply *a);

#endif
