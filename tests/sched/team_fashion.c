/* One epoch of the zoo's `fashion` net on Fashion-MNIST, by one device and over two (three seeds):
 * the same shards give the same accuracy to the bit, and that of plain training within a point. */
#include "team_rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { SEEDS = 3, BATCH = 64 };

static double epoch(int devices, int shards, uint64_t seed)
{
    team_group g;
    kl_metrics m;
    assert_true(team_devices(&g, devices));
    kl_dataset *data = kl_dataset_open("fashion-mnist"),
               *test = kl_dataset_open("fashion-mnist:test");
    kl_graph *net = kl_zoo_build("fashion", NULL, 0);
    kl_model *model = kl_model_create(net, &(kl_model_opts){.seed = seed});
    kl_graph_destroy(net);
    if (!model || !data || !test)
        fail_msg("%s", kl_last_error());
    kl_trainer *tr = team_trainer(model, &g, &(kl_trainer_opts){.shards = shards});
    if (kl_fit(tr, data, NULL, &(kl_fit_opts){.epochs = 1, .batch = BATCH}) != KL_OK ||
        kl_evaluate(tr, test, 100, &m, NULL) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_trainer_destroy(tr);
    kl_model_destroy(model);
    kl_dataset_destroy(data);
    kl_dataset_destroy(test);
    team_close(&g);
    return m.accuracy;
}

static void two_devices_are_as_good_as_one(void **state)
{
    (void)state;
    kl_dataset *there = kl_dataset_open("fashion-mnist");
    kl_dataset_destroy(there);
    if (!there || team_count() < 2)
        skip();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double plain = epoch(1, 1, seed), one = epoch(1, 16, seed), two = epoch(2, 16, seed);
        print_message("seed %d: plain %.4f; 16 shards: one device %.4f, two %.4f\n", (int)seed,
                      plain, one, two);
        assert_true(one == two);
        assert_true(plain > 0.8 && fabs(plain - two) < 0.01);
    }
}

int main(void)
{
    team_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_devices_are_as_good_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
